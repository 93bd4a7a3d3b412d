//! A part of the program with feature `size-probe`: the DynamoDB SDK, linked in and reachable, to weigh what the store that
//! will hold keys and budgets costs. It is never shipped.

/// The calls that a store makes: a conditional update and a read.
pub(crate) fn run() -> std::process::ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return std::process::ExitCode::FAILURE;
    };
    let config = aws_config::SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).build();
    let client = aws_sdk_dynamodb::Client::new(&config);
    let ok = runtime.block_on(async {
        let update = client.update_item().table_name("t").update_expression("ADD used :n").send().await;
        let read = client.get_item().table_name("t").send().await;
        update.is_ok_and(|output| output.attributes.is_some()) && read.is_ok_and(|output| output.item.is_some())
    });
    if ok { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
