//! DSL, intermediate languages, passes and plans: from a program without levels to a schedule.
