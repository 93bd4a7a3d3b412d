//! What the end of the program waits for: settlements that nobody else waits for. What is dropped before it is done stands in the log.

use std::sync::Arc;
use std::time::Duration;

use super::keeper::Keeper;
use crate::store::Settlement;

/// A settlement that nobody waits for but the end of the program.
pub(super) struct Waiting {
    open: Settling,
    /// Until it is done.
    settlement: Option<Settlement>,
}

impl Waiting {
    /// Waits from now on.
    pub(super) fn new(keeper: &Arc<Keeper>, settlement: Settlement) -> Self {
        Self { open: Settling::begin(keeper), settlement: Some(settlement) }
    }

    /// Settles, trying again for so long.
    pub(super) async fn settle(mut self, time: Duration) {
        if let Some(settlement) = &mut self.settlement {
            self.open.0.settle(settlement, time).await;
        }
        self.settlement = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(settlement) = &self.settlement {
            self.open.0.lost(settlement, "the program ends");
        }
    }
}

/// Something that is to be written yet, which the end of the program waits for.
pub(super) struct Settling(Arc<Keeper>);

impl Settling {
    /// It begins now, and ends when this is dropped.
    pub(super) fn begin(keeper: &Arc<Keeper>) -> Self {
        keeper.settling.send_modify(|count| *count += 1);
        Self(Arc::clone(keeper))
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.0.settling.send_modify(|count| *count -= 1);
    }
}
