//! How many requests in how much time: the arithmetic of rates, and what is remembered of each client's address.
//!
//! A rate is a bucket that holds all its requests at first and fills evenly: after a pause a whole minute's worth may come at
//! once, and over any longer time no more than the rate. Only the moment at which the bucket will be full again is stored, as a
//! whole number of parts of a millisecond, so that nothing is ever rounded ("generic cell rate algorithm", ITU-T I.371).

use std::collections::HashMap;

use super::Millis;

/// So many requests in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; 1 or more.
    pub count: u32,
    /// In which time.
    pub per: Millis,
}

/// The rates that hold together: a request needs a place in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Requests a second.
    pub rps: Option<u32>,
}

/// A rate that is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub rate: Rate,
    /// After this time one more request fits: not a millisecond earlier.
    pub wait: Millis,
}

/// What is stored of a [`Rate`]: when its bucket is full again, in parts of a millisecond, of which one has `count`.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(u128);

impl Bucket {
    /// The moment of fullness with no more than one whole period ahead: that is an empty bucket, and more can only come of a
    /// clock that went backwards.
    fn full(self, rate: Rate, now: Millis) -> (u128, u128) {
        let count = u128::from(rate.count.max(1));
        let now = u128::from(now) * count;
        let horizon = now + u128::from(rate.per) * count;
        (self.0.clamp(now, horizon), horizon)
    }

    /// How long until one more fits. What a clock that went backwards left behind is put right for good, as it would otherwise
    /// stay ahead by a whole period for ever.
    fn wait(&mut self, rate: Rate, now: Millis) -> Millis {
        let (full, horizon) = self.full(rate, now);
        self.0 = full;
        let short = (full + u128::from(rate.per)).saturating_sub(horizon);
        Millis::try_from(short.div_ceil(u128::from(rate.count.max(1)))).unwrap_or(Millis::MAX)
    }

    fn take(&mut self, rate: Rate, now: Millis) {
        self.0 = self.full(rate, now).0 + u128::from(rate.per);
    }
}

/// What is stored of [`Rates`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Buckets([Bucket; 2]);

impl Rates {
    /// In the order of [`Buckets`].
    fn each(&self) -> [Option<Rate>; 2] {
        let rate = |count: Option<u32>, per| count.map(|count| Rate { count, per });
        [rate(self.rpm, 60_000), rate(self.rps, 1000)]
    }

    /// Whether there is none.
    #[must_use]
    pub fn none(&self) -> bool {
        self.rpm.is_none() && self.rps.is_none()
    }

    /// Takes a place for one request. One that is over any rate takes none.
    ///
    /// # Errors
    /// The rate for which it would have to wait longest.
    pub fn take(&self, buckets: &mut Buckets, now: Millis) -> Result<(), Over> {
        let rates = self.each();
        let over = rates.iter().zip(&mut buckets.0).filter_map(|(rate, bucket)| {
            let rate = (*rate)?;
            Some(Over { rate, wait: bucket.wait(rate, now) }).filter(|over| over.wait > 0)
        });
        if let Some(over) = over.max_by_key(|over| over.wait) {
            return Err(over);
        }
        for (rate, bucket) in rates.iter().zip(&mut buckets.0) {
            if let Some(rate) = rate {
                bucket.take(*rate, now);
            }
        }
        Ok(())
    }

    /// Whether everything that was taken has come back: nothing would change if the buckets were forgotten.
    fn full(&self, buckets: &Buckets, now: Millis) -> bool {
        self.each().iter().zip(buckets.0).all(|(rate, bucket)| {
            let Some(rate) = *rate else { return true };
            bucket.full(rate, now).0 <= u128::from(now) * u128::from(rate.count.max(1))
        })
    }
}

/// What is remembered of an address beside its rates.
pub trait Own: Default {
    /// Whether it must rather not be forgotten.
    fn busy(&self) -> bool;
}

/// What is remembered of the clients, by address. Never more than a number of them: who has been idle is forgotten first, then
/// who has not been heard of for longest, so that nobody can fill the memory by changing his address.
#[derive(Debug)]
pub struct Callers<T> {
    most: usize,
    known: HashMap<u128, Caller<T>>,
}

/// What is remembered of one address.
#[derive(Debug)]
pub struct Caller<T> {
    /// Its rates.
    pub buckets: Buckets,
    /// Whatever else there is.
    pub own: T,
    seen: Millis,
}

impl<T: Own> Callers<T> {
    /// A memory for `most` addresses.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), known: HashMap::new() }
    }

    /// The caller at `address`, who is new where it is not known. `rates` are those of all.
    pub fn at(&mut self, address: u128, rates: &Rates, now: Millis) -> &mut Caller<T> {
        if self.known.len() >= self.most && !self.known.contains_key(&address) {
            self.sweep(rates, now);
        }
        let caller = self.known.entry(address);
        let caller = caller.or_insert_with(|| Caller { buckets: Buckets::default(), own: T::default(), seen: now });
        caller.seen = now;
        caller
    }

    /// Makes room for an eighth of all, so that a flood of new addresses does not have every one of them looked at each time.
    fn sweep(&mut self, rates: &Rates, now: Millis) {
        self.known.retain(|_, caller| caller.own.busy() || !rates.full(&caller.buckets, now));
        let room = (self.most / 8).max(1);
        let excess = (self.known.len() + room).saturating_sub(self.most);
        if excess == 0 {
            return;
        }
        let mut order: Vec<(bool, Millis, u128)> =
            self.known.iter().map(|(address, caller)| (caller.own.busy(), caller.seen, *address)).collect();
        order.sort_unstable();
        for (_, _, address) in order.into_iter().take(excess) {
            self.known.remove(&address);
        }
    }

    /// Fills all buckets: the rates are others now.
    pub fn refill(&mut self) {
        for caller in self.known.values_mut() {
            caller.buckets = Buckets::default();
        }
    }

    /// What is remembered of each.
    pub fn each(&self) -> impl Iterator<Item = &T> {
        self.known.values().map(|caller| &caller.own)
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Worker(bool);

    impl Own for Worker {
        fn busy(&self) -> bool {
            self.0
        }
    }

    fn rates(rpm: Option<u32>, rps: Option<u32>) -> Rates {
        Rates { rpm, rps }
    }

    #[test]
    fn a_full_bucket_and_then_the_rate() {
        // Seven a minute is one in 8571.43 ms: nothing is lost to rounding.
        let seven = rates(Some(7), None);
        let mut buckets = Buckets::default();
        for _ in 0..7 {
            assert_eq!(seven.take(&mut buckets, 1000), Ok(()));
        }
        let mut now = 1000;
        for taken in 1..=700_u64 {
            let over = seven.take(&mut buckets, now).unwrap_err();
            assert_eq!(over.rate, Rate { count: 7, per: 60_000 });
            assert_eq!(now + over.wait, 1000 + (60_000 * taken).div_ceil(7), "exactly when the next one fits");
            assert!(seven.take(&mut buckets, now + over.wait - 1).is_err(), "{taken}");
            now += over.wait;
            assert_eq!(seven.take(&mut buckets, now), Ok(()), "{taken}");
        }
        assert_eq!(now, 1000 + 6_000_000, "a hundred minutes for seven hundred");
    }

    #[test]
    fn a_refused_request_takes_nothing_and_the_longer_wait_is_told() {
        let both = rates(Some(3), Some(2));
        let mut buckets = Buckets::default();
        assert_eq!([both.take(&mut buckets, 0), both.take(&mut buckets, 0)], [Ok(()), Ok(())]);
        for _ in 0..100 {
            let over = both.take(&mut buckets, 0).unwrap_err();
            assert_eq!((over.rate.per, over.wait), (1000, 500));
        }
        assert_eq!(both.take(&mut buckets, 500), Ok(()), "the minute's third");
        let over = both.take(&mut buckets, 500).unwrap_err();
        assert_eq!((over.rate.per, over.wait), (60_000, 19_500));
    }

    #[test]
    fn odd_clocks_and_odd_numbers_do_no_harm() {
        let cases = [
            rates(Some(1), None),
            rates(Some(u32::MAX), Some(u32::MAX)),
            rates(None, Some(1)),
            rates(Some(0), Some(0)),
            rates(None, None),
        ];
        for rates in cases {
            let mut buckets = Buckets::default();
            for now in [0, u64::MAX, 0, 1, u64::MAX - 1, 5] {
                // Whatever happened before, nobody waits for more than a period.
                let taken = rates.take(&mut buckets, now);
                assert!(taken.is_ok_and(|()| true) || taken.unwrap_err().wait <= 60_000, "{rates:?} {now}");
            }
            let ready = rates.take(&mut buckets, 60_005);
            assert!(ready.is_ok() || rates.rpm == Some(0), "{rates:?}: a backward clock costs one period at most");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_idle_go_first() {
        let minute = rates(Some(2), None);
        let mut callers = Callers::<Worker>::new(80);
        // Forty are idle by the time when there is no room, one of the others is at work.
        for address in 0..80 {
            let now = if address < 40 { 0 } else { 50_000 + u64::try_from(address).unwrap() };
            let caller = callers.at(address, &minute, now);
            assert!(minute.take(&mut caller.buckets, now).is_ok());
            caller.own.0 = address == 41;
        }
        let now = 60_000;
        callers.at(1000, &minute, now);
        assert_eq!(callers.len(), 41, "the idle are forgotten");
        assert!((40..80).all(|address| callers.known.contains_key(&address)));
        // A flood of addresses, none of them idle.
        for address in 2000..12_000 {
            let caller = callers.at(address, &minute, now);
            assert!(minute.take(&mut caller.buckets, now).is_ok());
            assert!(callers.len() <= 80);
        }
        assert!(callers.known.contains_key(&41), "who is at work stays");
        assert!(callers.known.contains_key(&11_999) && !callers.known.contains_key(&2000), "the oldest go");
        // All at work: even then there is a bound.
        for address in 20_000..20_200 {
            callers.at(address, &minute, now).own.0 = true;
            assert!(callers.len() <= 80);
        }
    }

    #[test]
    fn other_rates_begin_with_full_buckets() {
        let one = rates(Some(1), None);
        let mut callers = Callers::<Worker>::new(9);
        let mut take = |refill: bool| {
            if refill {
                callers.refill();
            }
            one.take(&mut callers.at(7, &one, 5).buckets, 5).is_ok()
        };
        assert_eq!([take(false), take(false), take(true), take(false)], [true, false, true, false]);
    }
}
