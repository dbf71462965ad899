//! The shop's inventory: HTTP, calls nobody.

use std::time::Duration;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Router, middleware};

use super::web;

/// The item that is never in stock, so that there is a 404 to look at.
const SOLD_OUT: u64 = 13;

pub(super) async fn serve(listener: tokio::net::TcpListener) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/stock/{item}", get(stock))
        .route("/reserve/{item}", post(reserve))
        .layer(middleware::from_fn(web::observe));
    Ok(axum::serve(listener, router).await?)
}

async fn stock(Path(item): Path<u64>) -> Result<String, StatusCode> {
    // The shelf is walked: farther items take longer.
    tokio::time::sleep(Duration::from_millis(1 + item % 7)).await;
    if item == SOLD_OUT { Err(StatusCode::NOT_FOUND) } else { Ok(format!("{{\"left\":{}}}", 50 - item)) }
}

async fn reserve(Path(item): Path<u64>) -> String {
    tokio::time::sleep(Duration::from_millis(4 + item % 5)).await;
    format!("{{\"reserved\":{item}}}")
}
