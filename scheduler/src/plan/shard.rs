//! Which device has which rows: the one definition of sharding (docs/adr/0011).
//!
//! ```text
//! owner(limb) = limb mod n
//! ```
//!
//! An object (a ciphertext, a key, an encoded plaintext) is *blocks* of rows, each over the same basis: polynomials, pairs of
//! digit and half, or one. A device's buffer of the object holds the rows of the limbs that it owns, in the order that they have in
//! the object. On one device that is the object itself.

use fhe_core::params::LimbIdx;

use super::DeviceIdx;

/// The most devices of a plan. A limb is not divided, so more devices than limbs do not help.
pub const MAX_DEVICES: u32 = 64;

/// Rows of objects on a number of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharding {
    n_devices: u32,
}

impl Sharding {
    /// Over so many devices; none is as one.
    pub const fn new(n_devices: u32) -> Self {
        Self { n_devices: if n_devices == 0 { 1 } else { n_devices } }
    }

    /// The devices, in order.
    pub fn devices(self) -> impl Iterator<Item = DeviceIdx> + use<> {
        (0..self.n_devices).map(DeviceIdx)
    }

    /// The device that has a limb's rows and computes them.
    pub const fn owner(self, limb: LimbIdx) -> DeviceIdx {
        self.nth(limb.0)
    }

    /// The device of the `i`-th of several things that are given out in turn.
    pub const fn nth(self, i: u32) -> DeviceIdx {
        DeviceIdx(i % self.n_devices)
    }

    /// The limbs of a basis that a device owns, in order.
    pub fn owned(self, device: DeviceIdx, basis: &[LimbIdx]) -> impl Iterator<Item = LimbIdx> {
        basis.iter().copied().filter(move |&limb| self.owner(limb) == device)
    }

    /// Where the row of a block at a position of its basis is: the device, and the row of its buffer. None outside of the basis.
    pub fn row(self, basis: &[LimbIdx], block: u32, position: usize) -> Option<(DeviceIdx, u32)> {
        let device = self.owner(*basis.get(position)?);
        let of_block = self.owned(device, basis).count() as u32;
        let before = self.owned(device, &basis[..position]).count() as u32;
        Some((device, block * of_block + before))
    }

    /// The rows of an object that a device's buffer holds, in order, as rows of the object: `block * basis.len() + position`.
    pub fn rows(self, device: DeviceIdx, basis: &[LimbIdx], n_blocks: u32) -> Vec<u32> {
        let len = basis.len() as u32;
        let positions = (0u32..).zip(basis).filter(|&(_, &limb)| self.owner(limb) == device);
        let positions: Vec<u32> = positions.map(|(position, _)| position).collect();
        (0..n_blocks).flat_map(|block| positions.iter().map(move |p| block * len + p)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basis() -> Vec<LimbIdx> {
        [0, 1, 2, 5, 6, 9].map(LimbIdx).to_vec()
    }

    #[test]
    fn one_device_has_the_object_as_it_is() {
        for n in [0, 1] {
            assert_eq!(Sharding::new(n).rows(DeviceIdx(0), &basis(), 3), (0..18).collect::<Vec<_>>());
            assert_eq!(Sharding::new(n).row(&basis(), 2, 4), Some((DeviceIdx(0), 16)));
        }
    }

    #[test]
    fn every_row_is_on_one_device_where_it_is_found() {
        for n in 1..12 {
            let sharding = Sharding::new(n);
            let mut seen = [false; 18];
            for device in sharding.devices() {
                for (at, row) in (0..).zip(sharding.rows(device, &basis(), 3)) {
                    let (block, position) = (row / 6, row as usize % 6);
                    assert_eq!(sharding.row(&basis(), block, position), Some((device, at)));
                    assert_eq!(sharding.owner(basis()[position]), device);
                    assert!(!core::mem::replace(&mut seen[row as usize], true));
                }
            }
            assert!(seen.into_iter().all(|s| s), "{n} devices");
            assert_eq!(sharding.row(&basis(), 0, 6), None);
        }
    }
}
