//! The table: the four calls that the store makes, and what their failures mean.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem};

use super::expression::{Expression, Item, PARTITION, SORT, key, text};
use crate::store::StoreError;
use crate::upstream::aws::{Patience, Place, config, innermost};

/// A call with all its attempts takes three seconds at most: somebody waits for it. `DynamoDB` answers in some 5 ms, and who is
/// throttled can soon try again.
const PATIENCE: Patience = Patience {
    attempt: Duration::from_millis(1500),
    all: Duration::from_secs(3),
    attempts: 10,
    first_wait: Duration::from_millis(25),
    longest_wait: Duration::from_millis(400),
};
/// More retries than there ever are at one time.
const RETRIES: usize = 1_000_000;
/// How often a transaction is tried that another one is in the way of.
const TRIES: u32 = 12;

/// What became of a conditional write.
pub(super) enum Written {
    /// It was made. The item after it, where that was asked for.
    Done(Item),
    /// The condition does not hold. The item as it is.
    Refused(Item),
}

/// What became of several writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transacted {
    /// They were made.
    Done,
    /// None was made: the conditions of these do not hold.
    Refused(Vec<usize>),
}

/// A stretch of a partition, in the order of its sort keys.
pub(super) struct Stretch<'a> {
    pub(super) partition: &'a str,
    /// The first and the last sort key.
    pub(super) sort: (&'a str, &'a str),
    pub(super) backwards: bool,
    /// The most items of one page.
    pub(super) page: usize,
    /// Whether what was written just now has to be in it; costs twice as much.
    pub(super) consistent: bool,
}

/// A table, and the way to it.
pub(super) struct Table {
    place: Place,
    http: reqwest::Client,
    pub(super) patience: Patience,
    pub(super) name: String,
    client: OnceLock<Client>,
    /// Why the table must be left alone.
    pub(super) barred: OnceLock<StoreError>,
}

impl Table {
    pub(super) fn new(place: Place, http: reqwest::Client, name: String) -> Self {
        Self { place, http, patience: PATIENCE, name, client: OnceLock::new(), barred: OnceLock::new() }
    }

    fn client(&self) -> Result<&Client, StoreError> {
        if let Some(error) = self.barred.get() {
            return Err(error.clone());
        }
        if self.place.region.is_none() {
            return Err(StoreError::Setup("the environment variable `AWS_REGION` is not set".to_owned()));
        }
        Ok(self.client.get_or_init(|| {
            let shared = config(&self.place, self.http.clone(), self.patience);
            // The SDK's quota of retries for a whole process is for calls without a bound in time; ours have one, and a quota
            // that is used up would turn a throttled table into one that refuses.
            let retries = RetryPartition::custom("feathergate").token_bucket(TokenBucket::new(RETRIES));
            let config = aws_sdk_dynamodb::config::Builder::from(&shared).retry_partition(retries.build());
            Client::from_conf(config.build())
        }))
    }

    pub(super) async fn get(&self, partition: &str, sort: &str) -> Result<Option<Item>, StoreError> {
        let get = self.client()?.get_item().table_name(&self.name).set_key(Some(key(partition, sort)));
        let output = get.consistent_read(true).send().await.map_err(|error| self.failure(&error, "GetItem"))?;
        Ok(output.item)
    }

    /// Writes one item, where its condition holds. `whole` asks for the item.
    pub(super) async fn update(
        &self,
        partition: &str,
        sort: &str,
        write: &Expression,
        whole: bool,
    ) -> Result<Written, StoreError> {
        let returned = if whole { ReturnValue::AllNew } else { ReturnValue::None };
        let update = self
            .client()?
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(partition, sort)))
            .set_update_expression(write.update())
            .set_condition_expression(write.condition())
            .set_expression_attribute_names(write.names())
            .set_expression_attribute_values(write.values())
            .return_values(returned)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await {
            Ok(output) => Ok(Written::Done(output.attributes.unwrap_or_default())),
            Err(SdkError::ServiceError(context)) => match context.into_err() {
                UpdateItemError::ConditionalCheckFailedException(refusal) => {
                    Ok(Written::Refused(refusal.item.unwrap_or_default()))
                }
                error => Err(self.answer(error.code(), error.message(), "UpdateItem")),
            },
            Err(error) => Err(self.failure(&error, "UpdateItem")),
        }
    }

    /// Makes all writes or none. With a `token` that came before, within ten minutes, nothing is done again.
    pub(super) async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
        token: Option<String>,
    ) -> Result<Transacted, StoreError> {
        let client = self.client()?;
        let mut wait = self.patience.first_wait;
        for _ in 0..TRIES {
            let call = client.transact_write_items().set_transact_items(Some(writes.clone()));
            let error = match call.set_client_request_token(token.clone()).send().await {
                Ok(_) => return Ok(Transacted::Done),
                Err(SdkError::ServiceError(context)) => context.into_err(),
                Err(error) => return Err(self.failure(&error, "TransactWriteItems")),
            };
            let reasons = match &error {
                TransactWriteItemsError::TransactionCanceledException(canceled) => canceled.cancellation_reasons(),
                // The same request with other contents: the first one was made.
                TransactWriteItemsError::IdempotentParameterMismatchException(_) => return Ok(Transacted::Done),
                other => return Err(self.answer(other.code(), other.message(), "TransactWriteItems")),
            };
            let is = |code: &'static str| move |(_, found): &(usize, &str)| *found == code;
            let codes = reasons.iter().map(|reason| reason.code().unwrap_or_default()).enumerate();
            let refused: Vec<usize> = codes.clone().filter(is("ConditionalCheckFailed")).map(|(at, _)| at).collect();
            if !refused.is_empty() {
                return Ok(Transacted::Refused(refused));
            }
            if codes.clone().any(|found| is("ValidationError")(&found)) {
                let message = reasons.iter().find_map(|reason| reason.message());
                return Err(self.answer(Some("ValidationException"), message, "TransactWriteItems"));
            }
            // Another transaction has one of the items, or the table has too much to do.
            tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
            wait = (wait * 2).min(self.patience.longest_wait);
        }
        Err(StoreError::Unavailable("too many requests change the same item of the DynamoDB table at once".to_owned()))
    }

    /// A page of a stretch, and the sort key to go on after, if there is more.
    pub(super) async fn query(
        &self,
        stretch: &Stretch<'_>,
        after: Option<String>,
    ) -> Result<(Vec<Item>, Option<String>), StoreError> {
        let (first, last) = stretch.sort;
        if first > last || last.is_empty() {
            return Ok((Vec::new(), None));
        }
        let names = HashMap::from([("#p".to_owned(), PARTITION.to_owned()), ("#s".to_owned(), SORT.to_owned())]);
        let bounds = [(":p", stretch.partition), (":a", first), (":b", last)];
        let values = bounds.into_iter().map(|(name, bound)| (name.to_owned(), text(bound)));
        let query = self
            .client()?
            .query()
            .table_name(&self.name)
            .key_condition_expression("#p = :p AND #s BETWEEN :a AND :b")
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values.collect()))
            .scan_index_forward(!stretch.backwards)
            .limit(i32::try_from(stretch.page.max(1)).unwrap_or(i32::MAX))
            .consistent_read(stretch.consistent)
            .set_exclusive_start_key(after.map(|after| key(stretch.partition, &after)));
        let output = query.send().await.map_err(|error| self.failure(&error, "Query"))?;
        let next = output.last_evaluated_key.as_ref().and_then(|key| key.get(SORT));
        let next = next.and_then(|sort| sort.as_s().ok()).cloned();
        Ok((output.items.unwrap_or_default(), next))
    }

    fn failure<E: ProvideErrorMetadata + std::error::Error + 'static>(
        &self,
        error: &SdkError<E>,
        call: &str,
    ) -> StoreError {
        match error {
            SdkError::ServiceError(context) => self.answer(context.err().code(), context.err().message(), call),
            SdkError::TimeoutError(_) => late(),
            _ => unreachable_store(&innermost(error)),
        }
    }

    /// What an answer means that is an error.
    fn answer(&self, code: Option<&str>, message: Option<&str>, call: &str) -> StoreError {
        let (table, region) = (&self.name, self.place.region.as_deref().unwrap_or_default());
        let message = message.unwrap_or("no reason given");
        match code.unwrap_or_default() {
            "ResourceNotFoundException" => {
                StoreError::Setup(format!("there is no DynamoDB table `{table}` in {region}"))
            }
            "AccessDeniedException" => StoreError::Setup(format!(
                "these AWS credentials may not call dynamodb:{call} on the table `{table}` in {region}"
            )),
            code @ ("UnrecognizedClientException"
            | "InvalidSignatureException"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignatureException") => {
                StoreError::Setup(format!("DynamoDB does not accept these AWS credentials ({code})"))
            }
            "ValidationException" if message.contains("Item size") => {
                StoreError::Setup("this is more than the 400 KB that DynamoDB keeps as one item".to_owned())
            }
            "ValidationException" => StoreError::Setup(format!(
                "DynamoDB refuses a call of {call} on the table `{table}`: {message}; the table must have the partition key \
                 `{PARTITION}` and the sort key `{SORT}`, both strings"
            )),
            "" => StoreError::Unavailable(format!("DynamoDB answered {call} with an error without a name")),
            code => StoreError::Unavailable(format!("DynamoDB: {code}: {message}")),
        }
    }
}

pub(super) fn late() -> StoreError {
    StoreError::Unavailable("DynamoDB did not answer in time".to_owned())
}

fn unreachable_store(cause: &str) -> StoreError {
    // The SDK wraps this one in its own layers, and its type is none of ours.
    if cause.contains("environment variable not set") {
        return StoreError::Setup("there are no AWS credentials in the environment (`AWS_ACCESS_KEY_ID` …)".to_owned());
    }
    StoreError::Unavailable(format!("DynamoDB cannot be reached: {cause}"))
}

/// A value of an item that has to be there.
pub(super) fn must<'a>(item: &'a Item, name: &str) -> Result<&'a AttributeValue, StoreError> {
    item.get(name).ok_or_else(|| StoreError::Corrupt(format!("an item without `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_can_be_done_and_no_more() {
        let place = Place { region: Some("eu-west-1".into()), endpoint: None };
        let table = Table::new(place, crate::upstream::client::http_client().unwrap(), "books".into());
        let arn = "User: arn:aws:sts::123456789012:assumed-role/x is not authorized to perform: dynamodb:Query";
        for (code, setup, words) in [
            (Some("ResourceNotFoundException"), true, "no DynamoDB table `books` in eu-west-1"),
            (Some("AccessDeniedException"), true, "may not call dynamodb:Query on the table `books`"),
            (Some("ExpiredTokenException"), true, "does not accept these AWS credentials (ExpiredTokenException)"),
            (Some("ValidationException"), true, "partition key `pk` and the sort key `sk`"),
            (Some("ThrottlingException"), false, "ThrottlingException"),
            (Some("InternalServerError"), false, "InternalServerError"),
            (None, false, "without a name"),
        ] {
            let message = if code == Some("AccessDeniedException") { arn } else { "words" };
            let error = table.answer(code, Some(message), "Query");
            assert_eq!(matches!(error, StoreError::Setup(_)), setup, "{error}");
            assert!(error.to_string().contains(words), "{error}");
            assert!(!error.to_string().contains("123456789012"), "{error}");
        }
        let missing = unreachable_store("environment variable not set");
        assert!(matches!(&missing, StoreError::Setup(why) if why.contains("AWS_ACCESS_KEY_ID")), "{missing}");
        assert!(matches!(unreachable_store("connection refused"), StoreError::Unavailable(_)));
    }
}
