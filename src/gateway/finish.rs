//! The end of a request: its record is given, its places are free again, and it is settled, whatever became of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use http::{HeaderMap, Response};

use super::account::Account;
use super::gate::Pass;
use super::refusal::Refusal;
use super::{Body, Gateway};
use crate::observe::{Observer, Record};
use crate::wire::Wire;

/// How long a settlement may take on Lambda, where the time is paid and the next request waits.
const AFTER_TIME: Duration = Duration::from_secs(5);

/// Work that waits until an invocation's answer is out.
#[derive(Clone, Default)]
pub struct After(Arc<Mutex<Vec<Over>>>);

/// A request that is over, and whoever has to be told what it came to.
type Over = (Record, Option<Account>);

impl std::fmt::Debug for After {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("After").finish_non_exhaustive()
    }
}

impl After {
    fn push(&self, over: Over) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(over);
    }

    /// The answer that was made could not go out after all.
    pub fn failed(&self, status: u16, class: &'static str, why: &str) {
        for (record, _) in &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            (record.status, record.error_class, record.error) = (status, Some(class), Some(why.to_owned()));
        }
    }

    /// Does the work.
    pub async fn run(&self, observer: &Observer) {
        let mut accounts = Vec::new();
        for (record, account) in self.take() {
            observer.emit(&record);
            accounts.extend(account.map(|account| account.settlement(&record)));
        }
        let settled = accounts.into_iter().map(|(keeper, mut settlement)| async move {
            keeper.settle(&mut settlement, AFTER_TIME).await;
        });
        join_all(settled).await;
    }

    /// The records that wait.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(record, _)| record.clone()).collect()
    }

    fn take(&self) -> Vec<Over> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where a request's record goes when it is over, and the places that it holds until then. A record may wait in [`After`];
/// the places do not.
pub(crate) struct Finish {
    pub(crate) gateway: Arc<Gateway>,
    pub(super) after: Option<After>,
    pub(super) pass: Pass,
}

impl Finish {
    /// Says what is known of the caller's limits.
    pub(crate) fn tell(&self, wire: Wire, head: &mut HeaderMap) {
        if let Some(slot) = &self.pass.account {
            slot.tell(wire, head);
        }
    }

    pub(crate) fn done(&mut self, mut record: Record) {
        record.queued = self.pass.queued();
        let account = self.pass.account.take().and_then(|slot| slot.close(&record));
        match &self.after {
            Some(after) => after.push((record, account)),
            None => {
                self.gateway.observer.emit(&record);
                if let Some(account) = account {
                    let (keeper, settlement) = account.settlement(&record);
                    keeper.settle_aside(settlement);
                }
            }
        }
    }
}

/// A request that is being worked on. If it is dropped before it has an answer, the log says so: on a server the client went
/// away, which cancels what was done for it; and a panic passes here on its way to the 500.
pub(crate) struct Open {
    pub(super) record: Option<Box<Record>>,
    pub(super) finish: Finish,
}

impl Open {
    /// Its record, while it has one, and the places that it has taken.
    pub(crate) fn parts(&mut self) -> Option<(&mut Record, &mut Pass)> {
        Some((self.record.as_deref_mut()?, &mut self.finish.pass))
    }

    /// It has an answer: whoever takes the record gives it.
    pub(crate) fn answered(mut self) -> Option<(Box<Record>, Finish)> {
        let record = self.record.take()?;
        let pass = std::mem::take(&mut self.finish.pass);
        let (gateway, after) = (Arc::clone(&self.finish.gateway), self.finish.after.take());
        Some((record, Finish { gateway, after, pass }))
    }

    /// Gives the record of an answer that is an error of this class, made elsewhere.
    pub(crate) fn failed(self, response: Response<Body>, class: &'static str) -> Response<Body> {
        if let Some((mut record, mut finish)) = self.answered() {
            (record.status, record.error_class) = (response.status().as_u16(), Some(class));
            finish.done(*record);
        }
        response
    }

    /// Answers with a refusal and gives the record.
    pub(crate) fn refused(self, refusal: Refusal, wire: Wire) -> Response<Body> {
        let Some((mut record, mut finish)) = self.answered() else { return refusal.into_response(wire, "") };
        record.status = refusal.status.as_u16();
        record.error_class = Some(refusal.class);
        record.error = Some(refusal.message.clone());
        let response = refusal.into_response(wire, &record.request_id);
        finish.done(*record);
        response
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        let (status, class, why) = if std::thread::panicking() {
            (500, "panic", "the gateway's own code failed")
        } else {
            (499, "client_gone", "the client went away before the answer began")
        };
        (record.status, record.error_class, record.error) = (status, Some(class), Some(why.to_owned()));
        self.finish.done(*record);
    }
}
