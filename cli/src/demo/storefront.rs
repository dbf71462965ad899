//! The shop's front: HTTP in, inventory and both versions of checkout out, turn by turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router, middleware};
use opentelemetry::Context;
use reqwest::Method;

use super::web;

struct Storefront {
    inventory: String,
    checkout: Vec<String>,
    turn: AtomicUsize,
}

pub(super) async fn serve(
    listener: tokio::net::TcpListener,
    inventory: String,
    checkout: Vec<String>,
) -> anyhow::Result<()> {
    ensure!(!checkout.is_empty(), "storefront needs the address of a checkout");
    let state = Arc::new(Storefront { inventory, checkout, turn: AtomicUsize::new(0) });
    let router = Router::new()
        .route("/", get(home))
        .route("/products/{item}", get(product))
        .route("/buy/{item}", post(buy))
        .with_state(state)
        .layer(middleware::from_fn(web::observe));
    Ok(axum::serve(listener, router).await?)
}

async fn home() -> &'static str {
    "<h1>shop</h1>"
}

async fn product(
    State(shop): State<Arc<Storefront>>,
    Path(item): Path<u64>,
    Extension(context): Extension<Context>,
) -> Result<String, StatusCode> {
    relay(web::call(Method::GET, &shop.inventory, &format!("/stock/{item}"), &context).await)
}

async fn buy(
    State(shop): State<Arc<Storefront>>,
    Path(item): Path<u64>,
    Extension(context): Extension<Context>,
) -> Result<String, StatusCode> {
    let turn = shop.turn.fetch_add(1, Ordering::Relaxed) % shop.checkout.len();
    relay(web::call(Method::POST, &shop.checkout[turn], &format!("/orders/{item}"), &context).await)
}

/// What the service below said, or that it cannot be reached.
fn relay(answer: anyhow::Result<u16>) -> Result<String, StatusCode> {
    match answer {
        Ok(status) if status < 400 => Ok("{}".to_owned()),
        Ok(status) => Err(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)),
        Err(_) => Err(StatusCode::BAD_GATEWAY),
    }
}
