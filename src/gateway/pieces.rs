//! A body that arrives in pieces, gathered up to a limit: a client's request, an upstream's answer.

use bytes::{Bytes, BytesMut};

/// What has arrived. Most bodies come in one piece, which is never copied.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    first: Bytes,
    /// All of it, once there is a second piece.
    whole: BytesMut,
    total: usize,
}

impl Pieces {
    /// Takes a piece; false if all together are more than `limit` bytes. `to_come` is what is known to follow, in bytes.
    pub(super) fn push(&mut self, piece: Bytes, to_come: usize, limit: usize) -> bool {
        self.total += piece.len();
        if self.total > limit {
            return false;
        }
        if self.first.is_empty() {
            self.first = piece;
            return true;
        }
        if self.whole.is_empty() {
            self.whole.reserve(self.total + to_come.min(limit - self.total));
            self.whole.extend_from_slice(&self.first);
        }
        self.whole.extend_from_slice(&piece);
        true
    }

    /// The body.
    pub(super) fn whole(self) -> Bytes {
        if self.whole.is_empty() { self.first } else { self.whole.freeze() }
    }
}
