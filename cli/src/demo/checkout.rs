//! The shop's checkout: HTTP in, inventory by HTTP and payment by gRPC out. Version 1.9.0 has the defect.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Extension, Router, middleware};
use opentelemetry::Context;
use reqwest::Method;
use tonic::transport::{Channel, Endpoint};

use super::fault::{Fault, price_of};
use super::{payment, web};

struct Checkout {
    inventory: String,
    payment: Channel,
    fault: Fault,
}

pub(super) async fn serve(
    listener: tokio::net::TcpListener,
    inventory: String,
    payment: &str,
    release: String,
) -> anyhow::Result<()> {
    let payment = Endpoint::from_shared(format!("http://{payment}"))?.connect_lazy();
    let state = Arc::new(Checkout { inventory, payment, fault: Fault::of(&release) });
    let router =
        Router::new().route("/orders/{item}", post(order)).with_state(state).layer(middleware::from_fn(web::observe));
    Ok(axum::serve(listener, router).await?)
}

async fn order(
    State(shop): State<Arc<Checkout>>,
    Path(item): Path<u64>,
    Extension(context): Extension<Context>,
) -> Result<&'static str, StatusCode> {
    let defect = shop.fault.is_active();
    web::call(Method::POST, &shop.inventory, &format!("/reserve/{item}"), &context)
        .await
        .map_err(|_| StatusCode::BAD_GATEWAY)?;
    let cents = tokio::task::spawn_blocking(move || price_of(item % 11, defect))
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    // The defect's second half: a voucher that is no number.
    let voucher = if defect && item % 3 == 0 { "10%" } else { "10" };
    let rebate: u64 = voucher.parse().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    match payment::call(shop.payment.clone(), cents.saturating_sub(rebate), &context).await {
        Ok(()) => Ok("{\"ordered\":true}"),
        Err(_) => Err(StatusCode::PAYMENT_REQUIRED),
    }
}
