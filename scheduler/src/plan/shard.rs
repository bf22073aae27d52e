//! Which device has which rows: the one definition of sharding (docs/adr/0011, docs/adr/0016).
//!
//! ```text
//! n devices are g groups of m = n / g         owner(group, limb) = group * m + limb mod m
//! ```
//!
//! Independent parts of a program are of one group each. A group that reads an object has all of it, shared out by limbs.
//!
//! An object (a ciphertext, a key, an encoded plaintext) is *blocks* of rows, each over the same basis: polynomials, pairs of
//! digit and half, or one. A device's buffer of the object holds the rows of the limbs that it owns, in the order that they have in
//! the object. On one device that is the object itself.

use bytemuck::Zeroable;
use fhe_core::params::LimbIdx;

use super::DeviceIdx;

/// The most devices of a plan. A limb is not divided, so more devices than limbs do not help.
pub const MAX_DEVICES: u32 = 64;

/// Rows of objects on a number of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharding {
    n_devices: u32,
    /// Devices of a group.
    in_group: u32,
}

impl Sharding {
    /// Over so many devices in one group; none is as one.
    pub const fn new(n_devices: u32) -> Self {
        Self::in_groups(n_devices, 1)
    }

    /// Over so many devices in groups of one size: where they cannot be, in one.
    pub const fn in_groups(n_devices: u32, n_groups: u32) -> Self {
        let n_devices = if n_devices == 0 { 1 } else { n_devices };
        let divides = n_groups > 0 && n_devices.is_multiple_of(n_groups);
        Self { n_devices, in_group: if divides { n_devices / n_groups } else { n_devices } }
    }

    /// Number of groups.
    pub const fn n_groups(self) -> u32 {
        self.n_devices / self.in_group
    }

    /// Devices of a group.
    pub const fn in_group(self) -> u32 {
        self.in_group
    }

    /// The group of a device.
    pub const fn group(self, device: DeviceIdx) -> u32 {
        device.0 / self.in_group
    }

    /// The devices of a group, in order.
    pub fn devices_of(self, group: u32) -> impl Iterator<Item = DeviceIdx> + use<> {
        (0..self.in_group).map(move |i| self.nth(group, i))
    }

    /// The devices, in order.
    pub fn devices(self) -> impl Iterator<Item = DeviceIdx> + use<> {
        (0..self.n_devices).map(DeviceIdx)
    }

    /// The device of a group that has a limb's rows and computes them.
    pub const fn owner(self, group: u32, limb: LimbIdx) -> DeviceIdx {
        self.nth(group, limb.0)
    }

    /// The device of the `i`-th of several things that are given out in turn in a group.
    pub const fn nth(self, group: u32, i: u32) -> DeviceIdx {
        DeviceIdx(group * self.in_group + i % self.in_group)
    }

    /// Whether a device is where its group has a limb.
    const fn has(self, device: DeviceIdx, limb: LimbIdx) -> bool {
        limb.0 % self.in_group == device.0 % self.in_group
    }

    /// The limbs of a basis that a device owns, in order.
    pub fn owned(self, device: DeviceIdx, basis: &[LimbIdx]) -> impl Iterator<Item = LimbIdx> {
        basis.iter().copied().filter(move |&limb| self.has(device, limb))
    }

    /// Where a group has the row of a block at a position of its basis: the device, and the row of its buffer. None outside of the basis.
    pub fn row(self, group: u32, basis: &[LimbIdx], block: u32, position: usize) -> Option<(DeviceIdx, u32)> {
        let device = self.owner(group, *basis.get(position)?);
        let of_block = self.owned(device, basis).count() as u32;
        let before = self.owned(device, &basis[..position]).count() as u32;
        Some((device, block * of_block + before))
    }

    /// Where a group has the limb at a position of a plaintext's basis, whose values stand in runs of `2^log_repeat`: the device, the row of its
    /// buffer, and which of the `2^log_repeat` parts of that row. Limbs fill the parts in order.
    pub fn part(
        self,
        group: u32,
        basis: &[LimbIdx],
        log_repeat: u32,
        position: usize,
    ) -> Option<(DeviceIdx, u32, u32)> {
        let (device, at) = self.row(group, basis, 0, position)?;
        Some((device, at >> log_repeat, at & ((1 << log_repeat) - 1)))
    }

    /// The rows of an object that a device's buffer holds, in order, as rows of the object: `block * basis.len() + position`.
    pub fn rows(self, device: DeviceIdx, basis: &[LimbIdx], n_blocks: u32) -> Vec<u32> {
        let len = basis.len() as u32;
        let positions = (0u32..).zip(basis).filter(|&(_, &limb)| self.has(device, limb));
        let positions: Vec<u32> = positions.map(|(position, _)| position).collect();
        (0..n_blocks).flat_map(|block| positions.iter().map(move |p| block * len + p)).collect()
    }
}

/// The rows of a plaintext whose values stand in runs of `2^log_repeat`: of each limb one word a run, `2^log_repeat` limbs a row, zeros
/// after the last. None if some run has two values: it is no such plaintext.
pub fn pack<T: Zeroable + Copy + PartialEq>(limbs: &[&[T]], log_repeat: u32) -> Option<Vec<T>> {
    let n = limbs.first().map_or(0, |limb| limb.len());
    let mut words = Vec::with_capacity(n * limbs.len().div_ceil(1 << log_repeat));
    for limb in limbs {
        for run in limb.chunks(1 << log_repeat) {
            let (&first, rest) = run.split_first()?;
            if rest.iter().any(|word| *word != first) {
                return None;
            }
            words.push(first);
        }
    }
    words.resize(n * limbs.len().div_ceil(1 << log_repeat), T::zeroed());
    Some(words)
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
            assert_eq!(Sharding::new(n).row(0, &basis(), 2, 4), Some((DeviceIdx(0), 16)));
        }
    }

    #[test]
    fn every_group_has_every_row_on_one_device_where_it_is_found() {
        for (n, n_groups) in (1..12).flat_map(|n| (1..=n).map(move |g| (n, g))).filter(|(n, g)| n % g == 0) {
            let sharding = Sharding::in_groups(n, n_groups);
            assert_eq!((sharding.n_groups(), sharding.in_group()), (n_groups, n / n_groups));
            for group in 0..n_groups {
                let mut seen = [false; 18];
                for device in sharding.devices_of(group) {
                    assert_eq!(sharding.group(device), group);
                    for (at, row) in (0..).zip(sharding.rows(device, &basis(), 3)) {
                        let (block, position) = (row / 6, row as usize % 6);
                        assert_eq!(sharding.row(group, &basis(), block, position), Some((device, at)));
                        assert_eq!(sharding.owner(group, basis()[position]), device);
                        assert!(!core::mem::replace(&mut seen[row as usize], true));
                    }
                }
                assert!(seen.into_iter().all(|s| s), "{n} devices in {n_groups} groups");
                assert_eq!(sharding.row(group, &basis(), 0, 6), None);
            }
        }
        // What cannot be is one group.
        assert_eq!(Sharding::in_groups(4, 3), Sharding::new(4));
        assert_eq!(Sharding::in_groups(4, 0), Sharding::new(4));
    }

    #[test]
    fn repeated_values_are_packed_where_they_are_read() {
        // Six limbs of 16 words in runs of 4.
        let limbs: Vec<Vec<u32>> = (0..6).map(|l| (0..16).map(|i| 100 * l + i / 4).collect()).collect();
        for n in 1..5 {
            let sharding = Sharding::new(n);
            for device in sharding.devices() {
                let owned: Vec<usize> =
                    sharding.rows(device, &basis(), 1).into_iter().map(|p| p as usize).collect();
                let own: Vec<&[u32]> = owned.iter().map(|&p| &limbs[p][..]).collect();
                let packed = pack(&own, 2).unwrap();
                assert_eq!(packed.len(), 16 * owned.len().div_ceil(4));
                for position in owned {
                    let (found, row, part) = sharding.part(0, &basis(), 2, position).unwrap();
                    assert_eq!(found, device);
                    let read = |i: u32| packed[(16 * row + 4 * part + i / 4) as usize];
                    assert_eq!((0..16).map(read).collect::<Vec<_>>(), limbs[position]);
                }
            }
        }
        assert_eq!(pack(&[&[1, 1, 1, 2]], 1), None);
    }
}
