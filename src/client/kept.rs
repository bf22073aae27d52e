//! A client as bytes, for its owner to store.
//!
//! ```text
//! header     that of every blob, of the kind `client`
//! 8 bytes    1 if answers were shared, else 0
//! 24 bytes   bits of security, answers that were promised, answers that were shared; or 0
//! 8 bytes    length of the offer, and the offer
//! 8 bytes    length of the secret key, and the secret key, a blob of its own
//! ```

use fhe_core::wire::{Kind, Reader, Writer, open, seal};
use zeroize::Zeroizing;

use super::Shared;
use crate::offer::{self, Offer};

/// What a stored client has.
pub(super) struct Kept<'a> {
    /// Of the parameters.
    pub(super) digest: [u8; 16],
    pub(super) shared: Option<Shared>,
    pub(super) offer: &'a [u8],
    pub(super) secret: &'a [u8],
}

impl<'a> Kept<'a> {
    pub(super) fn write(offer: &Offer, secret: &[u8], shared: Option<Shared>) -> Zeroizing<Vec<u8>> {
        let text = offer.to_bytes();
        let mut writer = Writer::with_capacity(6 * 8 + text.len() + secret.len());
        writer.u64(u64::from(shared.is_some()));
        let Shared { bits, queries, answers } = shared.unwrap_or(Shared { bits: 0, queries: 0, answers: 0 });
        [u64::from(bits), queries, answers].into_iter().for_each(|x| writer.u64(x));
        for part in [&text[..], secret] {
            writer.u64(part.len() as u64);
            writer.bytes(part);
        }
        Zeroizing::new(seal(Kind::Client, offer.params.digest(), writer))
    }

    /// Reads the shape: offer and secret key are checked where they are used.
    pub(super) fn read(bytes: &'a [u8]) -> fhe_core::Result<Self> {
        let (_, digest, payload) = open(bytes, &[Kind::Client])?;
        let mut reader = Reader::new("client", payload);
        let is_shared = reader.bounded("whether answers were shared", 1)? == 1;
        let bits = reader.bounded("bits of security", if is_shared { 128 } else { 0 })? as u32;
        let queries = reader.bounded("answers", if is_shared { u64::MAX } else { 0 })?;
        let answers = reader.bounded("shared answers", queries)?;
        let mut part = |field: &str, most: usize| {
            let len = reader.bounded(field, most as u64)? as usize;
            reader.bytes(len)
        };
        let text = part("bytes of the offer", offer::MAX_BYTES)?;
        let secret = part("bytes of the secret key", payload.len())?;
        reader.finish()?;
        let shared = is_shared.then_some(Shared { bits, queries, answers });
        Ok(Self { digest, shared, offer: text, secret })
    }
}
