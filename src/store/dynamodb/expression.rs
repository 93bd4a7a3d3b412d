//! A write of one item, in `DynamoDB`'s words. Every name and every value is a placeholder, so that no text of anybody's becomes
//! part of an expression.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

/// An item, or its key.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The partition key's attribute.
pub(super) const PARTITION: &str = "pk";
/// The sort key's attribute.
pub(super) const SORT: &str = "sk";
/// When the table may delete an item, in Unix seconds (TTL). It takes its time about it, up to days.
pub(super) const ENDS: &str = "ends";

/// A key.
pub(super) fn key(partition: &str, sort: &str) -> Item {
    [(PARTITION.to_owned(), text(partition)), (SORT.to_owned(), text(sort))].into()
}

pub(super) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn number(number: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

/// A text of an item; empty where there is none.
pub(super) fn text_of<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str)
}

/// A number of an item.
pub(super) fn number_of(item: &Item, name: &str) -> Option<u64> {
    item.get(name).and_then(whole)
}

/// A number as it counts: what is below nothing is nothing.
pub(super) fn whole(value: &AttributeValue) -> Option<u64> {
    let number: i128 = value.as_n().ok()?.parse().ok()?;
    Some(u64::try_from(number.max(0)).unwrap_or(u64::MAX))
}

/// An update and its condition. Names and values that come again share a placeholder.
#[derive(Clone, Debug, Default)]
pub(super) struct Expression {
    set: Vec<String>,
    add: Vec<String>,
    remove: Vec<String>,
    conditions: Vec<String>,
    names: Vec<String>,
    values: Vec<AttributeValue>,
}

impl Expression {
    pub(super) fn name(&mut self, name: &str) -> String {
        let known = self.names.iter().position(|known| known == name);
        let place = known.unwrap_or(self.names.len());
        if known.is_none() {
            self.names.push(name.to_owned());
        }
        format!("#n{place}")
    }

    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        let known = self.values.iter().position(|known| *known == value);
        let place = known.unwrap_or(self.values.len());
        if known.is_none() {
            self.values.push(value);
        }
        format!(":v{place}")
    }

    pub(super) fn set(&mut self, name: &str, value: AttributeValue) {
        let (name, value) = (self.name(name), self.value(value));
        self.set.push(format!("{name} = {value}"));
    }

    /// Sets what is not there yet.
    pub(super) fn keep(&mut self, name: &str, value: AttributeValue) {
        let (name, value) = (self.name(name), self.value(value));
        self.set.push(format!("{name} = if_not_exists({name}, {value})"));
    }

    /// Adds to a number, which is 0 where it is not there.
    pub(super) fn add(&mut self, name: &str, amount: i128) {
        let (name, value) = (self.name(name), self.value(number(amount)));
        self.add.push(format!("{name} {value}"));
    }

    pub(super) fn remove(&mut self, name: &str) {
        let name = self.name(name);
        self.remove.push(name);
    }

    /// A condition beside the others. The caller makes its names and values placeholders.
    pub(super) fn demand(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    pub(super) fn demand_there(&mut self, name: &str) {
        let name = self.name(name);
        self.demand(format!("attribute_exists({name})"));
    }

    pub(super) fn demand_absent(&mut self, name: &str) {
        let name = self.name(name);
        self.demand(format!("attribute_not_exists({name})"));
    }

    /// That a number is not above this, or not there.
    pub(super) fn demand_at_most(&mut self, name: &str, most: u64) {
        let (name, value) = (self.name(name), self.value(number(most)));
        self.demand(format!("(attribute_not_exists({name}) OR {name} <= {value})"));
    }

    /// `None` where nothing is changed.
    pub(super) fn update(&self) -> Option<String> {
        let clauses = [("SET", &self.set), ("ADD", &self.add), ("REMOVE", &self.remove)];
        let clauses = clauses.into_iter().filter(|(_, parts)| !parts.is_empty());
        let update: Vec<String> = clauses.map(|(word, parts)| format!("{word} {}", parts.join(", "))).collect();
        Some(update.join(" ")).filter(|update| !update.is_empty())
    }

    pub(super) fn condition(&self) -> Option<String> {
        Some(self.conditions.join(" AND ")).filter(|condition| !condition.is_empty())
    }

    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        let names = self.names.iter().enumerate().map(|(place, name)| (format!("#n{place}"), name.clone()));
        Some(names.collect()).filter(|names: &HashMap<_, _>| !names.is_empty())
    }

    pub(super) fn values(&self) -> Option<Item> {
        let values = self.values.iter().enumerate().map(|(place, value)| (format!(":v{place}"), value.clone()));
        Some(values.collect()).filter(|values: &Item| !values.is_empty())
    }
}
