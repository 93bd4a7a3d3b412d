//! Documents, their unique names and the audit log, as items.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};

use super::Dynamo;
use super::expression::{ENDS, Expression, Item, PARTITION, SORT, key, number, number_of, text, text_of};
use super::table::{Stretch, Transacted, must};
use crate::store::fits::{Seen, fits};
use crate::store::{Audit, Change, Document, Kind, SaveError, StoreError};

/// The most items that one transaction takes.
const MOST: usize = 100;
/// The most bytes of a text in the audit log: an item has 400 KB.
const LONGEST: usize = 180_000;
/// What is after every sort key that we write: they have 200 bytes or begin with digits.
fn end() -> String {
    "\u{10ffff}".repeat(64)
}

/// A document, from what the table had of it to what it shall have.
struct Step<'a> {
    /// The first change of it, which says what has to be there.
    change: &'a Change,
    place: usize,
    /// What is there afterwards.
    after: Option<&'a Document>,
}

/// A unique name, from one owner to the next.
#[derive(Default)]
struct Name<'a> {
    place: usize,
    /// Who may have it before.
    before: Vec<&'a str>,
    after: Option<&'a Document>,
}

type Steps<'a> = BTreeMap<(Kind, &'a str), Step<'a>>;
type Names<'a> = BTreeMap<(Kind, &'a str), Name<'a>>;

/// Puts changes together, since a transaction takes each item once. What does not fit together is a conflict at once.
fn plan(changes: &[Change], now: u64) -> Result<(Steps<'_>, Names<'_>), SaveError> {
    let (mut steps, mut names) = (Steps::new(), Names::new());
    for (place, change) in changes.iter().enumerate() {
        let document = change.document();
        let (after, released, taken) = match change {
            Change::Create(document) => (Some(document), None, document.unique.as_deref()),
            Change::Replace { document, before } => (Some(document), before.as_deref(), document.unique.as_deref()),
            Change::Remove(document) => (None, document.unique.as_deref(), None),
        };
        let here = (document.kind, document.id.as_str());
        if let Some(step) = steps.get_mut(&here) {
            let step: &mut Step<'_> = step;
            if !fits(change, step.after.map(seen), false, now) {
                return Err(SaveError::Conflict(place));
            }
            step.after = after;
        } else {
            steps.insert(here, Step { change, place, after });
        }
        if let Some(name) = released {
            let new = || Name { place, ..Name::default() };
            let known = names.entry((document.kind, name)).or_insert_with(new);
            if known.after.is_some_and(|owner| owner.id != document.id) {
                return Err(SaveError::Conflict(known.place));
            }
            known.before.push(&document.id);
            known.after = None;
        }
        if let Some(name) = taken {
            let new = || Name { place, ..Name::default() };
            let known = names.entry((document.kind, name)).or_insert_with(new);
            if known.after.is_some_and(|owner| owner.id != document.id && lasts(owner.ends, now)) {
                return Err(SaveError::Conflict(place));
            }
            known.before.push(&document.id);
            known.after = after;
        }
    }
    Ok((steps, names))
}

fn seen(document: &Document) -> Seen<'_> {
    Seen { version: document.version, unique: document.unique.as_deref(), ends: document.ends }
}

fn lasts(ends: Option<u64>, now: u64) -> bool {
    ends.is_none_or(|ends| ends > now)
}

/// What has to be there for a change.
fn condition(change: &Change, now: u64) -> Expression {
    let mut write = Expression::default();
    let (absent, ends) = (write.name(PARTITION), write.name("e"));
    let moment = write.value(number(now));
    let (version, unique) = match change {
        Change::Create(_) => {
            write.demand(format!("(attribute_not_exists({absent}) OR {ends} <= {moment})"));
            return write;
        }
        Change::Replace { document, before } => (document.version.saturating_sub(1), before),
        Change::Remove(document) => (document.version, &document.unique),
    };
    let (name, value) = (write.name("v"), write.value(number(version)));
    write.demand(format!("attribute_exists({absent}) AND {name} = {value}"));
    write.demand(format!("(attribute_not_exists({ends}) OR {ends} > {moment})"));
    match unique {
        Some(unique) => {
            let (name, value) = (write.name("u"), write.value(text(unique.as_str())));
            write.demand(format!("{name} = {value}"));
        }
        None => write.demand_absent("u"),
    }
    write
}

/// Who may have had a name that is given or taken back.
fn ownership(name: &Name<'_>, now: u64) -> Expression {
    let mut write = Expression::default();
    let (absent, ends) = (write.name(PARTITION), write.name("e"));
    let moment = write.value(number(now));
    let mut any = vec![format!("attribute_not_exists({absent})"), format!("{ends} <= {moment}")];
    for owner in &name.before {
        let (name, value) = (write.name("i"), write.value(text(*owner)));
        any.push(format!("{name} = {value}"));
    }
    write.demand(format!("({})", any.join(" OR ")));
    write
}

fn ends(item: &mut Item, ends: Option<u64>) {
    if let Some(ends) = ends {
        item.insert("e".to_owned(), number(ends));
        item.insert(ENDS.to_owned(), number(ends / 1000 + 1));
    }
}

fn documents(kind: Kind) -> String {
    format!("DOC#{}", kind.name())
}

fn item(document: &Document) -> Item {
    let mut item = key(&documents(document.kind), &document.id);
    item.insert("v".to_owned(), number(document.version));
    item.insert("b".to_owned(), text(document.body.as_str()));
    if let Some(unique) = &document.unique {
        item.insert("u".to_owned(), text(unique.as_str()));
    }
    ends(&mut item, document.ends);
    item
}

fn read(kind: Kind, item: &Item) -> Result<Document, StoreError> {
    let version = number_of(item, "v").ok_or_else(|| StoreError::Corrupt("a document without a version".to_owned()))?;
    must(item, "b")?;
    Ok(Document {
        kind,
        id: text_of(item, SORT).to_owned(),
        version,
        unique: item.get("u").and_then(|unique| unique.as_s().ok()).cloned(),
        ends: number_of(item, "e"),
        body: text_of(item, "b").to_owned(),
    })
}

/// Shortens what would not fit into an item.
fn fitting(text: Option<&String>) -> Option<String> {
    let text = text?;
    if text.len() <= LONGEST {
        return Some(text.clone());
    }
    // JSON, as it was: a text with the beginning of the document.
    let start = text.get(..text.floor_char_boundary(LONGEST / 2)).unwrap_or_default();
    serde_json::to_string(&format!("{start}… [cut: DynamoDB takes 400 KB]")).ok()
}

fn unbuilt(error: &dyn std::error::Error) -> SaveError {
    SaveError::Store(StoreError::Corrupt(format!("a change cannot be written: {error}")))
}

impl Dynamo {
    pub(super) async fn document(&self, kind: Kind, id: &str, now: u64) -> Result<Option<Document>, StoreError> {
        // A sort key is neither empty nor longer than this.
        if id.is_empty() || id.len() > 1024 {
            return Ok(None);
        }
        let found = self.table.get(&documents(kind), id).await?;
        let document = found.map(|item| read(kind, &item)).transpose()?;
        Ok(document.filter(|document| lasts(document.ends, now)))
    }

    pub(super) async fn documents(
        &self,
        kind: Kind,
        after: Option<&str>,
        limit: usize,
        now: u64,
    ) -> Result<Vec<Document>, StoreError> {
        let partition = documents(kind);
        // With the separator that is behind it, the first sort key after it.
        let first = after.map_or_else(|| "\u{0}".to_owned(), |after| format!("{}\u{0}", super::clip(after)));
        let last = end();
        let stretch =
            Stretch { partition: &partition, sort: (&first, &last), backwards: false, page: limit, consistent: true };
        let (mut found, mut next) = (Vec::new(), None);
        while found.len() < limit {
            let (items, more) = self.table.query(&stretch, next).await?;
            for item in &items {
                found.extend(Some(read(kind, item)?).filter(|document| lasts(document.ends, now)));
            }
            if more.is_none() {
                break;
            }
            next = more;
        }
        found.truncate(limit);
        Ok(found)
    }

    pub(super) async fn change(&self, changes: &[Change], audit: &[Audit], now: u64) -> Result<(), SaveError> {
        let (steps, names) = plan(changes, now)?;
        let mut writes = Vec::new();
        // For each write, the place of the change that it belongs to.
        let mut places = Vec::new();
        for ((kind, id), step) in &steps {
            let condition = condition(step.change, now);
            let new = step.after.map(item);
            writes.push(self.replacing(key(&documents(*kind), id), new, &condition)?);
            places.push(step.place);
        }
        for ((kind, name), owner) in &names {
            // A sort key is never empty, and a name may be.
            let at = key(&format!("NAME#{}", kind.name()), &format!("={}", super::clip(name)));
            let new = owner.after.map(|document| {
                let mut item = at.clone();
                item.insert("i".to_owned(), text(document.id.as_str()));
                ends(&mut item, document.ends);
                item
            });
            writes.push(self.replacing(at, new, &ownership(owner, now))?);
            places.push(owner.place);
        }
        for act in audit {
            writes.push(self.act(act)?);
        }
        if writes.len() > MOST {
            let reason = format!("DynamoDB writes at most {MOST} items as one, and this change needs {}", writes.len());
            return Err(SaveError::Store(StoreError::Setup(reason)));
        }
        if writes.is_empty() {
            return Ok(());
        }
        match self.table.transact(writes, None).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(failed) => {
                let place = failed.iter().filter_map(|at| places.get(*at)).min();
                Err(SaveError::Conflict(place.copied().unwrap_or_default()))
            }
        }
    }

    /// Puts an item in the place of what is there, or removes it.
    fn replacing(&self, at: Item, new: Option<Item>, condition: &Expression) -> Result<TransactWriteItem, SaveError> {
        let table = &self.table.name;
        let write = TransactWriteItem::builder();
        let write = match new {
            Some(item) => write.put(
                Put::builder()
                    .table_name(table)
                    .set_item(Some(item))
                    .set_condition_expression(condition.condition())
                    .set_expression_attribute_names(condition.names())
                    .set_expression_attribute_values(condition.values())
                    .build()
                    .map_err(|error| unbuilt(&error))?,
            ),
            None => write.delete(
                Delete::builder()
                    .table_name(table)
                    .set_key(Some(at))
                    .set_condition_expression(condition.condition())
                    .set_expression_attribute_names(condition.names())
                    .set_expression_attribute_values(condition.values())
                    .build()
                    .map_err(|error| unbuilt(&error))?,
            ),
        };
        Ok(write.build())
    }

    /// Writes an administrative act. One that is there stays.
    fn act(&self, act: &Audit) -> Result<TransactWriteItem, SaveError> {
        let short = Audit { before: fitting(act.before.as_ref()), after: fitting(act.after.as_ref()), ..act.clone() };
        let body = serde_json::to_string(&short).map_err(|error| unbuilt(&error))?;
        let mut write = Expression::default();
        write.keep("b", text(body));
        let update = Update::builder()
            .table_name(&self.table.name)
            .set_key(Some(key("AUDIT", &super::clip(&act.id))))
            .set_update_expression(write.update())
            .set_expression_attribute_names(write.names())
            .set_expression_attribute_values(write.values())
            .build()
            .map_err(|error| unbuilt(&error))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    pub(super) async fn acts(&self, before: Option<&str>, limit: usize) -> Result<Vec<Audit>, StoreError> {
        let last = before.map_or_else(end, super::clip);
        // One more: the stretch ends with `before` itself.
        let page = limit.saturating_add(1);
        let stretch = Stretch { partition: "AUDIT", sort: ("\u{0}", &last), backwards: true, page, consistent: true };
        let (mut found, mut next) = (Vec::new(), None);
        while found.len() < limit {
            let (items, more) = self.table.query(&stretch, next).await?;
            for item in &items {
                let body = text_of(item, "b");
                let act: Result<Audit, _> = serde_json::from_str(body);
                let act = act.map_err(|error| {
                    StoreError::Corrupt(format!("an act of the audit log that cannot be read: {error}"))
                })?;
                found.extend(Some(act).filter(|act| before.is_none_or(|before| act.id.as_str() < before)));
            }
            if more.is_none() {
                break;
            }
            next = more;
        }
        found.truncate(limit);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(id: &str, version: u64, unique: Option<&str>) -> Document {
        let unique = unique.map(str::to_owned);
        Document { kind: Kind::Key, id: id.to_owned(), version, unique, ends: None, body: "{}".to_owned() }
    }

    #[test]
    fn each_item_is_written_once() {
        let changes = [
            Change::Remove(document("old", 3, Some("alias"))),
            Change::Create(document("new", 1, Some("alias"))),
            Change::Replace { document: document("new", 2, Some("alias")), before: Some("alias".to_owned()) },
            Change::Create(document("brief", 1, Some("gone"))),
            Change::Remove(document("brief", 1, Some("gone"))),
        ];
        let (steps, names) = plan(&changes, 0).unwrap();
        assert_eq!(steps[&(Kind::Key, "new")].after.unwrap().version, 2);
        assert!(
            matches!(steps[&(Kind::Key, "new")].change, Change::Create(_)),
            "what has to be there before the first"
        );
        assert!(steps[&(Kind::Key, "old")].after.is_none() && steps[&(Kind::Key, "brief")].after.is_none());
        let alias = &names[&(Kind::Key, "alias")];
        assert_eq!((alias.after.unwrap().id.as_str(), alias.place), ("new", 0));
        assert!(alias.before.contains(&"old"));
        assert!(names[&(Kind::Key, "gone")].after.is_none());
    }

    #[test]
    fn what_does_not_fit_together_is_a_conflict_without_a_call() {
        let replace = |version, before: Option<&str>| Change::Replace {
            document: document("a", version, None),
            before: before.map(str::to_owned),
        };
        let create = |id, unique| Change::Create(document(id, 1, unique));
        for (changes, place) in [
            (vec![create("a", None), create("a", None)], 1),
            (vec![create("a", None), replace(3, None)], 1),
            (vec![create("a", None), replace(2, Some("x"))], 1),
            (vec![create("b", None), create("a", Some("x")), create("c", Some("x"))], 2),
            (vec![Change::Remove(document("a", 1, None)), Change::Remove(document("a", 1, None))], 1),
            (vec![create("a", Some("x")), Change::Remove(document("c", 1, Some("x")))], 0),
        ] {
            assert!(matches!(plan(&changes, 0), Err(SaveError::Conflict(at)) if at == place), "{changes:?}");
        }
    }

    #[test]
    fn a_long_text_of_the_audit_log_stays_json() {
        assert_eq!(fitting(None), None);
        assert_eq!(fitting(Some(&"{}".to_owned())).as_deref(), Some("{}"));
        let long = fitting(Some(&format!("\"{}\"", "ä".repeat(LONGEST)))).unwrap();
        assert!(long.len() < LONGEST && long.contains("[cut"));
        serde_json::from_str::<String>(&long).unwrap();
    }
}
