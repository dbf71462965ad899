//! Traces for people and for clients: by id as OTLP or as a waterfall, and the lists of a service.

mod list;
mod otlp;
mod waterfall;

pub use list::{TraceCard, TraceKind, list};
pub use otlp::to_otlp;
pub use waterfall::{Waterfall, WaterfallSpan, waterfall};

/// A trace id from its hexadecimal text. Short ones are padded on the left, as Tempo does: some senders have 64 bits.
#[must_use]
pub fn trace_id_of(text: &str) -> Option<[u8; 16]> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    crate::text::from_hex(&format!("{text:0>32}")).filter(|id| *id != [0; 16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_are_padded_and_nonsense_is_refused() {
        assert_eq!(trace_id_of("1f").unwrap()[15], 0x1f);
        assert_eq!(trace_id_of("4BF92F3577B34DA6A3CE929D0E0E4736").unwrap()[0], 0x4b);
        for nonsense in ["", "0", "xyz", "é", "4bf92f3577b34da6a3ce929d0e0e47361"] {
            assert!(trace_id_of(nonsense).is_none(), "{nonsense}");
        }
    }
}
