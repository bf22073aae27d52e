use fhe_core::approximation::*;
use std::time::Instant;
#[test]
fn explore() {
    for log in 3..=20 {
        let t = Instant::now();
        let r = 2f64.powi(-log);
        match Composite::relu(1.0, r) {
            Ok(c) => println!(
                "relu 2^-{log}: {:?} depth {} products {} eps {}/err, error/r {} {:?}",
                c.degrees(),
                c.depth(),
                c.products(),
                c.epsilon() / r,
                c.error() / r,
                t.elapsed()
            ),
            Err(e) => println!("{e}"),
        }
        let t = Instant::now();
        match Composite::sign(1.0, r, r) {
            Ok(c) => println!(
                "sign eps 2^-{log}: {:?} depth {} products {} error/r {} {:?}",
                c.degrees(),
                c.depth(),
                c.products(),
                c.error() / r,
                t.elapsed()
            ),
            Err(e) => println!("{e}"),
        }
    }
    for eps in (4..20).map(|i| 2f64.powf(-13.0 + 0.25 * i as f64 - 2.0)) {
        let c = Composite::sign_of_degrees(&[15, 15, 27], 1.0, eps).unwrap();
        let near = (0..4096)
            .map(|i| {
                let x = eps * i as f64 / 4096.0;
                x * (1.0 - c.value(x)) / 2.0
            })
            .fold(0.0, f64::max);
        println!("eps 2^{} t/2 2^{} near 2^{}", eps.log2(), (c.error() / 2.0).log2(), near.log2());
    }
}
