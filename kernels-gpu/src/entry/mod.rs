//! The PTX shells: one or two functions a kernel, named as its contract says.

use crate::abi::KernelId;
use crate::abi::launch::KernelArgs;
use crate::device;
use crate::thread::{
    ThreadKernel, contract_of, convert_basis, encode, every_kernel, inner_product, ntt, pointwise,
};

/// Barriers in the function of a kernel.
const fn barriers<K: ThreadKernel<u32>>() -> u32 {
    K::PHASES - 1 + K::ROUNDS as u32
}

/// A shell for each kernel.
macro_rules! shells {
    ($($name:ident: $kernel:ty,)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`; see [`crate::abi::launch`].")]
            ///
            /// # Safety
            /// The launch is what the ABI asks for; see [`crate::thread::ThreadKernel::phase`].
            #[unsafe(no_mangle)]
            pub unsafe extern "ptx-kernel" fn $name(args: KernelArgs) {
                // SAFETY: the caller's promises.
                unsafe { device::run::<$kernel>(args) };
            }
            device::announce!($name, contract_of::<u32, $kernel>(), barriers::<$kernel>());
        )*
    };
}

every_kernel!(shells);
