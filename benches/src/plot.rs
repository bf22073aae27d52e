//! Rows as a picture: a bar of the measured time over one of the floor, on a logarithmic axis.

use crate::row::Row;
use std::fmt::Write as _;

const LABELS: f64 = 330.0;
const WIDTH: f64 = 760.0;
const NUMBERS: f64 = 150.0;
const LINE: f64 = 17.0;
const HEAD: f64 = 64.0;

/// Microseconds to pixels.
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    fn of(rows: &[Row]) -> Self {
        let times = || rows.iter().flat_map(|r| [r.microseconds, r.floor_microseconds]).filter(|&t| t > 0.0);
        let low = times().fold(f64::INFINITY, f64::min).log10().floor();
        let high = times().fold(1e-3, f64::max).log10().ceil();
        if low.is_finite() { Self { low: low as i32, high: high as i32 } } else { Self { low: 0, high: 1 } }
    }

    fn x(&self, microseconds: f64) -> f64 {
        let decades = f64::from((self.high - self.low).max(1));
        let at = (microseconds.max(1e-9).log10() - f64::from(self.low)) / decades;
        LABELS + WIDTH * at.clamp(0.0, 1.0)
    }
}

/// The colour of a bar by its ratio to the floor.
fn colour(ratio: f64) -> &'static str {
    match ratio {
        r if r < 1.5 => "#7fb77e",
        r if r < 3.0 => "#8fb3d9",
        r if r < 10.0 => "#e9c46a",
        _ => "#e59a86",
    }
}

fn time(microseconds: f64) -> String {
    match microseconds {
        t if t < 1e3 => format!("{t:.1} µs"),
        t if t < 1e6 => format!("{:.2} ms", t / 1e3),
        t => format!("{:.2} s", t / 1e6),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// An SVG of rows.
pub fn svg(title: &str, rows: &[Row]) -> String {
    let axis = Axis::of(rows);
    let (width, bottom) = (LABELS + WIDTH + NUMBERS, HEAD + LINE * rows.len() as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\">{title}</text>\n\
         <text x=\"8\" y=\"38\" fill=\"#555\">bar: measured; dark mark: floor; colour: ratio below 1.5 green, 3 blue, 10 \
         yellow, else red</text>\n",
        height = bottom + 12.0,
        title = escaped(title)
    );
    // Writing to a string cannot fail.
    for decade in axis.low..=axis.high {
        let x = axis.x(10f64.powi(decade));
        let label = time(10f64.powi(decade));
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{bottom:.1}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{t:.1}\" \
             text-anchor=\"middle\" fill=\"#555\">{label}</text>",
            y = HEAD - 6.0,
            t = HEAD - 10.0
        );
    }
    for (i, row) in rows.iter().enumerate() {
        let y = HEAD + LINE * i as f64;
        let (measured, floor) = (axis.x(row.microseconds), axis.x(row.floor_microseconds));
        let _ = writeln!(
            out,
            "<text x=\"{label_x:.1}\" y=\"{text_y:.1}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LABELS}\" y=\"{bar_y:.1}\" width=\"{w:.1}\" height=\"11\" fill=\"{fill}\"/>\
             <rect x=\"{mark:.1}\" y=\"{mark_y:.1}\" width=\"3\" height=\"15\" fill=\"#333\"/>\
             <text x=\"{number_x:.1}\" y=\"{text_y:.1}\" fill=\"#333\">{number} ({ratio:.1})</text>",
            label_x = LABELS - 6.0,
            text_y = y + 11.0,
            name = escaped(&row.name),
            bar_y = y + 2.0,
            w = (measured - LABELS).max(1.0),
            fill = colour(row.ratio),
            mark = floor - 1.5,
            mark_y = y,
            number_x = measured.max(floor) + 6.0,
            number = time(row.microseconds),
            ratio = row.ratio
        );
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roofs::Roofs;
    use crate::row::{Case, Cost};
    use fhe_core::math::word::WordKind;

    #[test]
    fn bars_are_longer_than_floors_that_are_exceeded() {
        let case = Case { what: "a<b".to_owned(), chain: None, log_n: 12, limbs: 3, word: WordKind::U32 };
        let roofs = Roofs { copy: 1e9, narrow_products: 1e9, wide_products: 1e9, how: String::new() };
        let cost = Cost { bytes: 10_000, operations: 0, products: 0.0 };
        let row = Row::new(&case, "none", 100.0, cost, &roofs);
        assert_eq!((row.floor_microseconds, row.ratio), (10.0, 10.0));
        let axis = Axis::of(std::slice::from_ref(&row));
        assert!(axis.x(10.0) == LABELS && axis.x(100.0) == LABELS + WIDTH);
        let text = svg("title", &[row]);
        assert!(text.contains("a&lt;b 2^12 x 3 u32") && text.contains("100.0 µs (10.0)"));
        assert!(svg("nothing", &[]).ends_with("</svg>\n"));
    }
}
