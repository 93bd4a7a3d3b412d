//! What a choice among a hundred deployments costs, by strategy. `make bench` runs it and `wire_bars.py` compares the figures
//! with their bar.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]
#![allow(missing_docs, reason = "`criterion_group!` makes items without them")]

#[path = "cpu.rs"]
mod cpu;

use std::hint::black_box;
use std::sync::Arc;

use cpu::CpuTime;
use criterion::{Criterion, criterion_group, criterion_main};
use feathergate::route::balance::{Choice, Turn};
use feathergate::route::health::{Failed, Health, Sample};
use feathergate::route::rules::{Cooldown, Member, Strategy, StrategyArgs};
use feathergate::wire::FailureKind;

const DEPLOYMENTS: usize = 100;
const NOW: u64 = 1_000_000;

/// With all that a strategy may have to look at: limits, orders, and what was learned; every tenth is cooling down.
fn members() -> (Vec<Member>, Vec<Arc<Health>>) {
    let members: Vec<Member> = (0..DEPLOYMENTS)
        .map(|place| Member {
            place,
            order: 1 + u32::from(place % 7 == 0),
            weight: u32::try_from(place % 5).unwrap(),
            rpm: Some(1000),
            tpm: Some(1_000_000),
            parallel: Some(100),
            cost: Some(1_250_000 + place as u64 % 3),
            retries: None,
            cooldown: Cooldown::default(),
        })
        .collect();
    let health: Vec<Arc<Health>> = (0..DEPLOYMENTS).map(|_| Arc::default()).collect();
    for (place, (member, health)) in members.iter().zip(&health).enumerate() {
        let attempt = health.claim(NOW, member).unwrap();
        attempt.succeeded(NOW, Sample { latency: 500 + place as u64 * 37 % 50, tokens: Some(place as u64 % 11) });
        if place % 10 == 9 {
            attempt.failed(NOW, &Failed { kind: FailureKind::Auth, status: 401, retry_after: None }, member, false);
        }
    }
    (members, health)
}

fn choose(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("choose");
    let near = StrategyArgs { buffer: 50, ..StrategyArgs::default() };
    for (name, strategy, args) in [
        ("simple-shuffle", Strategy::SimpleShuffle, StrategyArgs::default()),
        ("first-available", Strategy::FirstAvailable, StrategyArgs::default()),
        ("round-robin", Strategy::RoundRobin, StrategyArgs::default()),
        ("random", Strategy::Random, StrategyArgs::default()),
        ("least-busy", Strategy::LeastBusy, StrategyArgs::default()),
        ("latency-based-routing", Strategy::LatencyBased, StrategyArgs::default()),
        ("latency-based-routing with a buffer", Strategy::LatencyBased, near),
        ("cost-based-routing", Strategy::CostBased, StrategyArgs::default()),
        ("usage-based-routing-v2", Strategy::UsageBased, StrategyArgs::default()),
    ] {
        let ((members, health), turn) = (members(), Turn::default());
        let choice = Choice { members: &members, health: &health, strategy, args, turn: &turn };
        // As the pipeline asks: about a list of who can take the request.
        let may: Vec<bool> = (0..DEPLOYMENTS).map(|place| place % 13 != 0).collect();
        let may = |place: usize| may.get(place).copied().unwrap_or(false);
        let mut seed = 1_u64;
        group.bench_function(name, |bench| {
            bench.iter(|| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                choice.choose(black_box(&may), NOW, black_box(seed)).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime).without_plots();
    targets = choose
}
criterion_main!(benches);
