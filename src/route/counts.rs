//! What is counted of a deployment: by the minute, and as a mean. Atomics: nobody waits for anybody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::rules::Millis;

/// What is counted by the minute begins anew with each.
pub(super) const MINUTE: Millis = 60_000;

/// A count that begins anew with every minute: the minute in the upper half, the count in the lower.
#[derive(Debug, Default)]
pub(super) struct Window(AtomicU64);

impl Window {
    const MOST: u64 = u32::MAX as u64;

    /// The minute to count in, and what it has.
    #[inline]
    fn present(word: u64, minute: u64) -> (u64, u64) {
        let minute = minute & Self::MOST;
        let (of, count) = (word >> 32, word & Self::MOST);
        // Whoever read the clock just before the minute's end may come just after it. Further back went the clock itself.
        if of == minute || of == minute + 1 { (of, count) } else { (minute, 0) }
    }

    #[inline]
    pub(super) fn get(&self, minute: u64) -> u64 {
        Self::present(self.0.load(Relaxed), minute).1
    }

    pub(super) fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    /// Takes back one that was added.
    pub(super) fn take_one(&self, now: Millis) {
        let _ = self.0.fetch_update(Relaxed, Relaxed, |word| {
            let (minute, count) = Self::present(word, now / MINUTE);
            Some(minute << 32 | count.saturating_sub(1))
        });
    }

    /// Adds, and returns what the minute has now.
    pub(super) fn add(&self, now: Millis, more: u64) -> u64 {
        let mut after = 0;
        let _ = self.0.fetch_update(Relaxed, Relaxed, |word| {
            let (minute, count) = Self::present(word, now / MINUTE);
            after = count.saturating_add(more).min(Self::MOST);
            Some(minute << 32 | after)
        });
        after
    }
}

/// A mean in which each sample has an eighth, and what was there before the rest: about the last ten, as litellm's list.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// In 1/256 ms; 0 if nothing is known.
    mean: AtomicU64,
    /// When the last sample came.
    at: AtomicU64,
}

impl Latency {
    pub(super) fn add(&self, now: Millis, latency: Millis) {
        let sample = latency.min(1 << 32) << 8;
        let _ = self.mean.fetch_update(Relaxed, Relaxed, |mean| {
            let next = if mean == 0 { sample } else { (mean * 7 + sample) / 8 };
            Some(next.max(1))
        });
        self.at.store(now, Relaxed);
    }

    /// Whether it is known and no more than `limit`.
    #[inline]
    pub(super) fn is_within(&self, limit: u64, now: Millis, ttl: Millis) -> bool {
        self.mean.load(Relaxed) <= limit && self.get(now, ttl).is_some()
    }

    #[inline]
    pub(super) fn get(&self, now: Millis, ttl: Millis) -> Option<u64> {
        let mean = self.mean.load(Relaxed);
        if mean == 0 {
            return None;
        }
        if now.saturating_sub(self.at.load(Relaxed)) > ttl {
            // So that the next sample stands for itself.
            self.mean.store(0, Relaxed);
            return None;
        }
        Some(mean)
    }
}
