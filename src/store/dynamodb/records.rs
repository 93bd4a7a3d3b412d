//! The record of requests and the sums by day, as items.
//!
//! An entry and what it adds to its day are written as one: the entry's own name keeps a second try from adding again.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use futures::future::try_join_all;

use super::Dynamo;
use super::expression::{ENDS, Expression, Item, PARTITION, key, number, number_of, text, text_of};
use super::table::{Stretch, must};
use crate::meter::Money;
use crate::store::StoreError;
use crate::store::token::hash;
use crate::store::usage::{Daily, DailyQuery, Entry, EntryPage, EntryQuery, Sums, Tokens};

/// Over how many partitions entries are spread, and sums likewise. A transaction takes two units of the 1,000 a second that a
/// partition has, so together they do 4,000 requests a second.
pub(super) const SHARDS: u32 = 8;
/// The most bytes of an entry: an item has 400 KB, its key and names among them.
const MOST: usize = 380_000;
/// What stands behind a body that was cut to fit.
const CUT: &str = "… [cut: DynamoDB takes 400 KB]";
/// How often a page of entries goes back to the table: a page may be short.
const ROUNDS: usize = 4;
const DAY: u64 = 86_400_000;
/// The last moment with 13 digits.
const LAST: u64 = 9_999_999_999_999;

/// The attributes of an item of sums, beside those that say whose they are.
const WHOSE: [&str; 5] = ["D", "K", "T", "M", "U"];

fn shard(entry: &str) -> u32 {
    let sum = entry.bytes().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    sum % SHARDS
}

/// Of each part the name and the amount.
fn amounts(sums: &Sums) -> [(&'static str, u64); 11] {
    let Sums { requests, failures, tokens, cost, unpriced } = *sums;
    let Tokens { input, output, cache_read, cache_write, reasoning, audio_input, audio_output } = tokens;
    [
        ("n", requests),
        ("f", failures),
        ("i", input),
        ("o", output),
        ("r", cache_read),
        ("w", cache_write),
        ("t", reasoning),
        ("ai", audio_input),
        ("ao", audio_output),
        ("c", cost.0),
        ("x", unpriced),
    ]
}

fn sums(item: &Item) -> Sums {
    let at = |name| number_of(item, name).unwrap_or(0);
    Sums {
        requests: at("n"),
        failures: at("f"),
        tokens: Tokens {
            input: at("i"),
            output: at("o"),
            cache_read: at("r"),
            cache_write: at("w"),
            reasoning: at("t"),
            audio_input: at("ai"),
            audio_output: at("ao"),
        },
        cost: Money(at("c")),
        unpriced: at("x"),
    }
}

/// What an entry adds to its day.
fn addition(entry: &Entry, days: u64) -> (String, Expression) {
    let day = entry.day();
    let whose = [&day, &entry.key, &entry.team, &entry.model, &entry.upstream];
    let name: String = hash(&whose.map(|text| format!("{}:{text}", text.len())).concat()).chars().take(24).collect();
    let mut write = Expression::default();
    for (attribute, value) in WHOSE.iter().zip(whose) {
        write.set(attribute, text(value.as_str()));
    }
    write.set(ENDS, number((entry.time / DAY + 1).saturating_mul(DAY).saturating_add(days) / 1000));
    for (attribute, amount) in amounts(&entry.sums()) {
        if amount > 0 {
            write.add(attribute, i128::from(amount));
        }
    }
    (format!("{day}#{name}"), write)
}

/// An entry as text, its bodies cut where it would not fit into an item.
fn body(entry: &Entry) -> Result<String, StoreError> {
    let write = |entry: &Entry| {
        serde_json::to_string(entry)
            .map_err(|error| StoreError::Corrupt(format!("a record cannot be written: {error}")))
    };
    let mut body = write(entry)?;
    let mut room = MOST / 2;
    let mut entry = entry.clone();
    while body.len() > MOST && room > 0 {
        for kept in [&mut entry.request_body, &mut entry.response_body] {
            cut(kept, room);
        }
        if room < 4096 {
            // Whatever else is this long is no text of ours.
            entry.tags.clear();
            let Entry { request_id, end_user, model, requested_model, upstream_model, .. } = &mut entry;
            for text in [request_id, end_user, model, requested_model, upstream_model] {
                let end = text.floor_char_boundary(room);
                text.truncate(end);
            }
        }
        body = write(&entry)?;
        room /= 2;
    }
    Ok(body)
}

fn cut(kept: &mut Option<String>, room: usize) {
    if let Some(text) = kept.as_mut().filter(|text| text.len() > room) {
        let end = text.floor_char_boundary(room);
        text.truncate(end);
        text.push_str(CUT);
    }
}

impl Dynamo {
    pub(super) async fn record(&self, entry: &Entry) -> Result<(), StoreError> {
        let shard = shard(&entry.id);
        let built = |error: &dyn std::error::Error| StoreError::Corrupt(format!("a record cannot be written: {error}"));
        let mut writes = Vec::with_capacity(2);
        if self.keep.requests > 0 {
            let mut item = key(&format!("USE#{shard}"), &super::clip(&entry.id));
            item.insert("b".to_owned(), text(body(entry)?));
            item.insert(ENDS.to_owned(), number(entry.time.saturating_add(self.keep.requests) / 1000 + 1));
            let put = Put::builder()
                .table_name(&self.table.name)
                .set_item(Some(item))
                .condition_expression(format!("attribute_not_exists({PARTITION})"))
                .build()
                .map_err(|error| built(&error))?;
            writes.push(TransactWriteItem::builder().put(put).build());
        }
        let (name, write) = addition(entry, self.keep.days);
        let update = Update::builder()
            .table_name(&self.table.name)
            .set_key(Some(key(&format!("DAY#{shard}"), &name)))
            .set_update_expression(write.update())
            .set_expression_attribute_names(write.names())
            .set_expression_attribute_values(write.values())
            .build()
            .map_err(|error| built(&error))?;
        writes.push(TransactWriteItem::builder().update(update).build());
        // Where it is refused, the entry is there, and so is what it adds.
        let token = hash(&format!("{}/{}", self.table.name, entry.id)).chars().take(32).collect();
        self.table.transact(writes, Some(token)).await.map(|_| ())
    }

    /// A page of entries. Each round reads on in every partition that has more; what is younger than the oldest entry seen of
    /// each is complete.
    pub(super) async fn page(&self, query: &EntryQuery) -> Result<EntryPage, StoreError> {
        let first = format!("{:013}", query.from.min(LAST));
        let mut last = format!("{:013}~", query.to.min(LAST));
        if let Some(before) = query.before.as_ref().filter(|before| **before < last) {
            last.clone_from(before);
        }
        let mut found = BTreeMap::new();
        // Of each partition, where to go on.
        let mut open: Vec<(u32, Option<String>)> = (0..SHARDS).map(|shard| (shard, None)).collect();
        for _ in 0..ROUNDS {
            let pages =
                open.iter().map(|(shard, after)| self.stretch(*shard, (&first, &last), query.limit, after.as_ref()));
            let pages = try_join_all(pages).await?;
            let shards = std::mem::take(&mut open);
            for ((shard, _), (items, next)) in shards.into_iter().zip(pages) {
                for item in &items {
                    let entry = read(item)?;
                    let is_new = query.before.as_ref().is_none_or(|before| entry.id < *before);
                    if is_new && query.takes(&entry) {
                        found.insert(entry.id.clone(), entry);
                    }
                }
                open.extend(next.map(|next| (shard, Some(next))));
            }
            let complete = horizon(&open);
            let certain = found.keys().filter(|id| complete.is_none_or(|oldest| id.as_str() >= oldest)).count();
            if open.is_empty() || certain > query.limit {
                break;
            }
        }
        let complete = horizon(&open).map(str::to_owned);
        let certain =
            found.into_values().rev().filter(|entry| complete.as_ref().is_none_or(|oldest| entry.id >= *oldest));
        let mut entries: Vec<Entry> = certain.take(query.limit.saturating_add(1)).collect();
        let next = if entries.len() > query.limit {
            entries.truncate(query.limit);
            entries.last().map(|entry| entry.id.clone())
        } else {
            complete
        };
        Ok(EntryPage { entries, next })
    }

    async fn stretch(
        &self,
        shard: u32,
        sort: (&str, &str),
        limit: usize,
        after: Option<&String>,
    ) -> Result<(Vec<Item>, Option<String>), StoreError> {
        let partition = format!("USE#{shard}");
        let page = limit.saturating_add(1).clamp(25, 500);
        let stretch = Stretch { partition: &partition, sort, backwards: true, page, consistent: false };
        self.table.query(&stretch, after.cloned()).await
    }

    pub(super) async fn days(&self, query: &DailyQuery) -> Result<Vec<Daily>, StoreError> {
        let shards = try_join_all((0..SHARDS).map(|shard| self.days_of(shard, query))).await?;
        let mut days: BTreeMap<[String; 5], Sums> = BTreeMap::new();
        for daily in shards.into_iter().flatten() {
            let Daily { day, key, team, model, upstream, sums } = daily;
            let known = days.entry([day, key, team, model, upstream]).or_default();
            *known = known.plus(&sums);
        }
        let all = days.into_iter();
        Ok(all
            .map(|([day, key, team, model, upstream], sums)| Daily { day, key, team, model, upstream, sums })
            .collect())
    }

    async fn days_of(&self, shard: u32, query: &DailyQuery) -> Result<Vec<Daily>, StoreError> {
        let partition = format!("DAY#{shard}");
        let day = |text: &str| text.chars().take(10).collect::<String>();
        let sort = (&*format!("{}#", day(&query.from)), &*format!("{}#~", day(&query.to)));
        let stretch = Stretch { partition: &partition, sort, backwards: false, page: 10_000, consistent: false };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (items, next) = self.table.query(&stretch, after).await?;
            for item in &items {
                let [day, key, team, model, upstream] = WHOSE.map(|name| text_of(item, name).to_owned());
                found.push(Daily { day, key, team, model, upstream, sums: sums(item) });
            }
            if next.is_none() {
                found.retain(|daily| query.takes(daily));
                return Ok(found);
            }
            after = next;
        }
    }
}

/// Above this everything was seen: the youngest of the places where partitions go on.
fn horizon(open: &[(u32, Option<String>)]) -> Option<&str> {
    open.iter().filter_map(|(_, next)| next.as_deref()).max()
}

fn read(item: &Item) -> Result<Entry, StoreError> {
    let body = must(item, "b")?.as_s().map_err(|_| StoreError::Corrupt("a record that is no text".to_owned()))?;
    let entry: Result<Entry, _> = serde_json::from_str(body);
    entry.map_err(|error| StoreError::Corrupt(format!("a record that cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_too_long_is_cut_and_not_lost() {
        let entry = Entry { id: "1".into(), request_id: "r".into(), ..Entry::default() };
        assert_eq!(serde_json::from_str::<Entry>(&body(&entry).unwrap()).unwrap(), entry);
        // A control character takes six bytes of JSON.
        for text in ["ä".repeat(400_000), "\u{1}".repeat(200_000)] {
            let long = Entry { request_body: Some(text.clone()), response_body: Some("short".into()), ..entry.clone() };
            let body = body(&long).unwrap();
            assert!(body.len() < 400_000 && body.len() > 100_000, "{}", body.len());
            let kept: Entry = serde_json::from_str(&body).unwrap();
            assert_eq!(kept.response_body, long.response_body);
            let start = kept.request_body.unwrap();
            assert!(text.starts_with(start.strip_suffix(CUT).unwrap()));
        }
        let long = "x".repeat(500_000);
        let long = Entry { model: long.clone(), end_user: long.clone(), tags: vec![long], ..entry };
        assert!(body(&long).unwrap().len() < 400_000);
    }

    #[test]
    fn sums_of_one_name_come_together_and_of_two_never() {
        let entry = Entry { time: 86_400_000 * 2, key: "a".into(), team: "b".into(), ..Entry::default() };
        let (name, write) = addition(&entry, 86_400_000);
        assert_eq!(addition(&Entry { id: "other".into(), ..entry.clone() }, 0).0, name);
        assert!(name.starts_with("1970-01-03#") && name.len() == 35, "{name}");
        let values = write.values().unwrap();
        assert!(
            values.values().any(|value| value.as_n().is_ok_and(|ends| ends == "345600")),
            "kept for a day after its own"
        );
        for other in [
            Entry { key: "ab".into(), team: String::new(), ..entry.clone() },
            Entry { key: "a1:".into(), team: "b".into(), ..entry.clone() },
            Entry { time: 0, ..entry.clone() },
        ] {
            assert_ne!(addition(&other, 0).0, name, "{other:?}");
        }
    }

    #[test]
    fn entries_are_spread() {
        let mut counts = [0; SHARDS as usize];
        for number in 0..4000_u32 {
            counts[shard(&format!("1795222800000-{number:06}")) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (300..700).contains(count)), "{counts:?}");
    }
}
