//! The shoppers: requests to the storefront at a steady pace, until stopped. They are not instrumented, as browsers
//! seldom are.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Between two requests.
const PACE: Duration = Duration::from_millis(60);
/// Requests open at one time; a slow shop has a queue, not an unbounded crowd.
const OPEN_MAX: usize = 32;
/// How many different items there are.
const ITEMS: u64 = 40;

/// Lets them in. The task ends with `stop`.
pub(super) fn start(storefront: String, stop: CancellationToken) {
    let shopping = async move {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap_or_default();
        let mut open = JoinSet::new();
        let mut tick = interval(PACE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for number in 0_u64.. {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            while open.try_join_next().is_some() {}
            if open.len() >= OPEN_MAX {
                continue;
            }
            let item = number * 7 % ITEMS;
            let request = match number % 4 {
                0 => client.get(format!("http://{storefront}/")),
                1 | 2 => client.get(format!("http://{storefront}/products/{item}")),
                _ => client.post(format!("http://{storefront}/buy/{item}")),
            };
            open.spawn(request.send());
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the demo's only task; it owns nothing and ends with its token")]
    drop(tokio::spawn(shopping));
}
