//! A whole program that is small enough to be run hundreds of times, on a simulated device and on a real one.

use crate::client::{Client, named};
use crate::simulated::Device;
use crate::support::real_driver;
use crate::watched::{Script, Watched};
use fhe_core::ckks::Ciphertext;
use fhe_core::params::{Params, Preset};
use fhe_core::ring::Ring;
use host::driver::Driver;
use host::{BackendKind, LoadedProgram, Result, Session, SessionBuilder};
use scheduler::dsl::{self, Program};
use scheduler::{Compiled, Options, compile};
use std::sync::{Arc, OnceLock};

/// Bytes of a simulated device.
pub const DEVICE_BYTES: u64 = 1 << 32;

/// A program with its keys and inputs, and what comes out.
pub struct Story {
    pub params: Params,
    pub compiled: Compiled,
    pub keys: Vec<u8>,
    pub inputs: Vec<Vec<u8>>,
    pub outputs: Vec<Vec<u8>>,
}

/// Two levels of the smallest ring that kernels are compiled for.
fn params() -> Params {
    let mut literal = Preset::Toy12.literal();
    literal.levels.truncate(2);
    literal.main_primes.truncate(literal.levels[1].len());
    literal.digit_limbs = 2;
    literal.special_primes.truncate(2);
    Params::new(literal).unwrap()
}

/// A constant, a product and a rotation: every phase of a key switch.
pub fn program() -> Program {
    dsl::build("story", |g| {
        let x = g.input("x", 4)?;
        let w = g.plain("w", &[0.5, -0.25, 0.125, 1.0])?;
        g.output("y", x.square() + x.rotate(1) * w, 4)
    })
    .unwrap()
}

/// The story, with the outputs of the processor.
pub fn story() -> &'static Story {
    static STORY: OnceLock<Story> = OnceLock::new();
    STORY.get_or_init(|| {
        let (params, program) = (params(), program());
        let mut client = Client::<u32>::of(Ring::new(&params).unwrap());
        let compiled = compile(&program, &params, &Options::default()).unwrap();
        let inputs = client.inputs(&program, &compiled.manifest).iter().map(Ciphertext::to_bytes).collect();
        let keys = client.keys(&compiled.manifest).to_bytes();
        let mut story = Story { params, compiled, keys, inputs, outputs: vec![] };
        let session = Session::builder().backend(BackendKind::Cpu).threads(1).build().unwrap();
        let mut loaded = story.load(&session).unwrap();
        loaded.load_keys(&story.keys).unwrap();
        story.outputs = story.run(&mut loaded).unwrap();
        story
    })
}

impl Story {
    pub fn load(&self, session: &Session) -> Result<LoadedProgram> {
        session.load(self.compiled.clone(), &self.params)
    }

    pub fn run(&self, loaded: &mut LoadedProgram) -> Result<Vec<Vec<u8>>> {
        let manifest = self.compiled.manifest.clone();
        loaded.run(&named(&manifest, &self.inputs))
    }

    /// Runs, and the bits are right.
    pub fn run_right(&self, loaded: &mut LoadedProgram) {
        assert!(self.run(loaded).unwrap() == self.outputs, "other bits than the processor's");
    }

    /// Loads and runs, and the bits are right.
    pub fn all_right(&self, session: &Session) {
        let mut loaded = self.load(session).unwrap();
        loaded.load_keys(&self.keys).unwrap();
        self.run_right(&mut loaded);
    }
}

/// A device under test: its driver, what is held of it and, if it is simulated, the device itself.
pub struct Stage {
    pub driver: Arc<dyn Driver>,
    pub script: Script,
    pub device: Option<Device>,
}

impl Stage {
    fn new(driver: Arc<dyn Driver>, device: Option<Device>) -> Self {
        let script = Script::default();
        Self { driver: Watched::open(driver, &script), script, device }
    }

    /// A simulated device.
    pub fn simulated() -> Self {
        Self::simulated_of(DEVICE_BYTES)
    }

    /// A simulated device of some size.
    pub fn simulated_of(bytes: u64) -> Self {
        let device = Device::new(bytes);
        Self::new(device.open(), Some(device))
    }

    /// A real device, where the machine has one.
    pub fn real() -> Option<Self> {
        real_driver().map(|driver| Self::new(driver, None))
    }

    /// A simulated device and, where the machine has one, a real one.
    pub fn all() -> Vec<Self> {
        [Self::simulated()].into_iter().chain(Self::real()).collect()
    }

    /// A session on it.
    pub fn session(&self, with: impl FnOnce(SessionBuilder) -> SessionBuilder) -> Session {
        let builder = with(Session::builder().backend(BackendKind::Cuda).threads(1));
        builder.build_with(|_| Ok(Arc::clone(&self.driver))).unwrap()
    }

    /// When sessions and programs are gone: nothing is held, and nothing wrong was done.
    pub fn ends(self) {
        let Self { driver, script, device } = self;
        assert_eq!(Arc::strong_count(&driver), 1, "somebody still has the driver");
        drop(driver);
        assert_eq!(script.held(), Default::default());
        if let Some(device) = device {
            assert_eq!(device.live(), Default::default());
            assert_eq!(device.misuses(), [""; 0]);
        }
    }

    /// Only the test's own driver is left of what was held.
    pub fn is_empty(&self) {
        let held = crate::watched::Held { streams: 1, ..Default::default() };
        assert_eq!(self.script.held(), held);
    }
}
