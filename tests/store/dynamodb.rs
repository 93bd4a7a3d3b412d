//! A table for each case at the address in `FEATHERGATE_TEST_DYNAMODB`, which is an emulator's: `tests/dynamodb.py` starts one and
//! sets that variable and credentials. Tables are made there and left behind.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use feathergate::store::dynamodb::Dynamo;
use feathergate::store::{Keep, Store};
use feathergate::upstream::aws::{Patience, Place, config};
use feathergate::upstream::client::http_client;
use futures::FutureExt as _;

use crate::kit::{Kit, server};

pub fn kit() -> Option<Kit> {
    server("FEATHERGATE_TEST_DYNAMODB")?;
    Some(Kit {
        make: |name, keep| async move { Arc::new(dynamo(&name, keep).await) as Arc<dyn Store> }.boxed(),
        lasts: true,
        sweeps: false,
        age: |name| age(name).boxed(),
    })
}

pub fn place() -> Place {
    Place { region: Some("eu-central-1".into()), endpoint: std::env::var("FEATHERGATE_TEST_DYNAMODB").ok() }
}

/// A name of this test run's.
pub fn table(name: &str) -> String {
    format!("{name}.{}", std::process::id())
}

/// A store over the table of this name, which is made where it is not there.
pub async fn dynamo(name: &str, keep: Keep) -> Dynamo {
    let attribute = |name: &str| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let part = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let made = client()
        .create_table()
        .table_name(table(name))
        .attribute_definitions(attribute("pk"))
        .attribute_definitions(attribute("sk"))
        .key_schema(part("pk", KeyType::Hash))
        .key_schema(part("sk", KeyType::Range))
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await;
    if let Err(error) = made {
        assert!(error.into_service_error().is_resource_in_use_exception());
    }
    // The emulator takes one call after another.
    Dynamo::new(place(), http_client().unwrap(), table(name), keep).patient(Duration::from_mins(1))
}

async fn age(name: String) {
    client()
        .update_item()
        .table_name(table(&name))
        .key("pk", AttributeValue::S("SCHEMA".into()))
        .key("sk", AttributeValue::S("#".into()))
        .update_expression("ADD V :one")
        .expression_attribute_values(":one", AttributeValue::N("1".into()))
        .send()
        .await
        .unwrap();
}

/// The names of an item's attributes.
pub async fn attributes(name: &str, partition: &str) -> Vec<String> {
    let get = client().get_item().table_name(table(name));
    let get = get.key("pk", AttributeValue::S(partition.into())).key("sk", AttributeValue::S("#".into()));
    get.send().await.unwrap().item.unwrap_or_default().into_keys().collect()
}

fn client() -> Client {
    let patience = Patience {
        attempt: Duration::from_secs(30),
        all: Duration::from_secs(30),
        attempts: 10,
        first_wait: Duration::from_millis(5),
        longest_wait: Duration::from_millis(50),
    };
    Client::new(&config(&place(), http_client().unwrap(), patience))
}
