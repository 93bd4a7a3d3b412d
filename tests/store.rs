//! One suite for all stores. A store joins with a line at the end of this file; one that needs a server is told of it by an
//! environment variable, and says on standard error that it is skipped where that is not set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "a test is its own process, with tasks and an environment")]
#![allow(clippy::cast_possible_truncation, clippy::cloned_ref_to_slice_refs, reason = "small numbers, and plain words")]
#![allow(clippy::print_stdout, missing_docs, unreachable_pub, reason = "a test talks to its reader")]

#[cfg(feature = "dynamodb")]
#[path = "store/cost.rs"]
mod cost;
#[path = "store/documents.rs"]
mod documents;
#[cfg(feature = "dynamodb")]
#[path = "store/dynamodb.rs"]
mod dynamodb_kit;
#[cfg(feature = "dynamodb")]
#[path = "store/dynamodb_only.rs"]
mod dynamodb_only;
#[path = "store/hostile.rs"]
mod hostile;
#[path = "store/kit.rs"]
mod kit;
#[path = "store/lasting.rs"]
#[allow(dead_code, reason = "for stores that may not be built")]
mod lasting;
#[path = "store/limits.rs"]
mod limits;
#[cfg(feature = "postgres")]
#[path = "store/postgres.rs"]
mod postgres_kit;
#[path = "store/records.rs"]
mod records;
#[cfg(feature = "sqlite")]
#[path = "store/sqlite.rs"]
mod sqlite_kit;

/// Cases as tests, each over data of its own. `$kit` is an `Option<Kit>`; without one they are skipped.
macro_rules! cases {
    ($kit:expr, [$($room:ident::$case:ident),* $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(kit) = $kit {
                    crate::$room::$case(crate::kit::Case::new(kit, stringify!($case))).await;
                }
            }
        )*
    };
}

/// What all stores are held to; with `lasting`, also what those are whose data outlasts them.
macro_rules! suite {
    ($store:ident, $kit:expr $(, $lasting:ident)?) => {
        mod $store {
            cases!($kit, [
                limits::each_limit_refuses_exactly_what_goes_beyond_it,
                limits::a_scope_without_room_keeps_all_others_uncounted,
                limits::many_at_once_use_each_limit_to_its_end_and_no_further,
                limits::claims_in_any_order_of_scopes_all_get_through,
                limits::every_store_counts_as_the_ledger_does,
                limits::a_hold_that_lapses_frees_its_place_and_stays_charged,
                limits::settling_replaces_the_estimate_once,
                limits::settling_at_once_many_times_counts_once,
                limits::settling_after_its_window_counts_in_its_window,
                limits::a_clock_that_is_a_little_behind_meets_what_was_counted,
                limits::a_settlement_without_a_hold_is_recorded_only,
                records::sums_by_day_are_those_of_the_entries,
                records::an_entry_comes_back_as_it_was,
                records::sums_of_the_largest_figures_do_not_wrap,
                records::without_entries_there_are_still_sums,
                records::each_filter_takes_what_it_says,
                records::sums_are_filtered_as_entries_are,
                records::a_sweep_deletes_what_is_past_its_time_and_nothing_else,
                documents::what_is_created_is_found_replaced_and_removed,
                documents::each_change_that_does_not_fit_is_a_conflict,
                documents::changes_are_made_all_or_none,
                documents::one_of_many_at_once_wins,
                documents::unique_names_are_freed_and_taken_in_order,
                documents::what_is_past_its_end_is_not_there,
                documents::a_list_is_paged_by_id,
                documents::the_audit_log_only_grows,
                hostile::documents_take_any_text,
                hostile::records_take_any_text,
                hostile::scopes_take_any_text,
                hostile::what_is_too_long_breaks_nothing,
            ]);
            $(
                $lasting!($kit);
            )?
        }
    };
}

#[allow(unused_macros, reason = "for stores that may not be built")]
macro_rules! lasting {
    ($kit:expr) => {
        cases!(
            $kit,
            [
                lasting::all_is_there_when_it_is_opened_again,
                lasting::many_open_it_at_once,
                lasting::what_a_newer_program_wrote_is_left_alone,
            ]
        );
    };
}

suite!(memory, Some(crate::kit::memory()));
#[cfg(feature = "dynamodb")]
suite!(dynamodb, crate::dynamodb_kit::kit(), lasting);
#[cfg(feature = "sqlite")]
suite!(sqlite, Some(crate::sqlite_kit::kit()), lasting);
#[cfg(feature = "postgres")]
suite!(postgres, crate::postgres_kit::kit(), lasting);
