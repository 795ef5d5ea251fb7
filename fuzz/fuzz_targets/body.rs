//! A body has the same content and the same end in whatever pieces it arrives.
#![no_main]

use portcullis_gateway::http1::{BodyDecoder, Decoded, Framing};

/// How a body ended: its content, the bytes it took, and whether it was whole.
#[derive(Debug, PartialEq)]
struct Read {
    content: Vec<u8>,
    taken: usize,
    end: End,
}

#[derive(Debug, PartialEq)]
enum End {
    Whole,
    Waiting,
    Refused,
}

libfuzzer_sys::fuzz_target!(|input: (u8, u8, &[u8])| {
    let (kind, piece, bytes) = input;
    let framing = match kind % 3 {
        0 => Framing::Chunked,
        1 => Framing::Length(u64::from(kind)),
        _ => Framing::UntilEnd,
    };
    let at_once = read(framing, bytes, usize::MAX);
    let in_pieces = read(framing, bytes, usize::from(piece).max(1));
    // A malformed body is refused either way; how much of it was passed on before may differ.
    if at_once.end == End::Refused || in_pieces.end == End::Refused {
        assert_eq!(at_once.end, in_pieces.end);
    } else {
        assert_eq!(at_once, in_pieces);
    }
});

/// Feeds `bytes` to a decoder, at most `piece` more each time it asks.
fn read(framing: Framing, bytes: &[u8], piece: usize) -> Read {
    let mut decoder = BodyDecoder::new(framing);
    let (mut content, mut taken, mut arrived) = (Vec::new(), 0, 0);
    let end = loop {
        match decoder.decode(&bytes[taken..arrived]) {
            Ok(Decoded::Content { skip, length }) => {
                assert!(length > 0 && taken + skip + length <= arrived);
                content.extend_from_slice(&bytes[taken + skip..][..length]);
                taken += skip + length;
                decoder.took(length);
            }
            Ok(Decoded::More { skip }) => {
                taken += skip;
                assert!(taken <= arrived);
                if arrived == bytes.len() {
                    break End::Waiting;
                }
                arrived = arrived.saturating_add(piece).min(bytes.len());
            }
            Ok(Decoded::End { skip }) => {
                taken += skip;
                assert!(decoder.is_ended() && taken <= arrived);
                break End::Whole;
            }
            Err(_) => break End::Refused,
        }
    };
    Read {
        content,
        taken,
        end,
    }
}
