//! The shop's payment: gRPC, calls nobody. Client and server are written by hand over tonic, one unary method
//! `shop.Payment/Charge`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::Request;
use axum::routing::post_service;
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use tonic::metadata::MetadataMap;
use tonic::server::UnaryService;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::telemetry::Call;

const PATH: &str = "/shop.Payment/Charge";
/// Orders above this are refused by the bank, so that there is an error that is nobody's fault.
const CENTS_MAX: u64 = 9_900;

/// What is asked.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ChargeRequest {
    #[prost(uint64, tag = "1")]
    cents: u64,
}

/// What is answered.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ChargeReply {
    #[prost(string, tag = "1")]
    receipt: String,
}

#[derive(Clone)]
struct Charge;

impl UnaryService<ChargeRequest> for Charge {
    type Response = ChargeReply;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<tonic::Response<ChargeReply>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<ChargeRequest>) -> Self::Future {
        Box::pin(charge(request))
    }
}

pub(super) async fn serve(listener: tokio::net::TcpListener) -> anyhow::Result<()> {
    let service = tower::service_fn(|request: Request| async {
        let codec = ProstCodec::<ChargeReply, ChargeRequest>::default();
        Ok::<_, Infallible>(tonic::server::Grpc::new(codec).unary(Charge, request).await)
    });
    let router = axum::Router::new().route(PATH, post_service(service));
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let routes = tonic::service::Routes::from(router);
    Ok(tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming).await?)
}

async fn charge(request: tonic::Request<ChargeRequest>) -> Result<tonic::Response<ChargeReply>, Status> {
    let headers = request.metadata().clone().into_headers();
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&HeaderExtractor(&headers)));
    let call = Call::begin(SpanKind::Server, PATH[1..].to_owned(), attributes(), &parent);
    let cents = request.into_inner().cents;
    tokio::time::sleep(Duration::from_millis(8 + cents % 20)).await;
    let outcome = if cents > CENTS_MAX { Err(Status::resource_exhausted("card limit reached")) } else { Ok(()) };
    finish(call, outcome.as_ref().err());
    outcome.map(|()| tonic::Response::new(ChargeReply { receipt: format!("r-{cents}") }))
}

/// Charges `cents` at `channel` under `context`, with a CLIENT span.
pub(super) async fn call(channel: tonic::transport::Channel, cents: u64, context: &Context) -> Result<(), Status> {
    let call = Call::begin(SpanKind::Client, PATH[1..].to_owned(), attributes(), context);
    let mut headers = axum::http::HeaderMap::new();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(call.context(), &mut HeaderInjector(&mut headers));
    });
    let mut request = tonic::Request::new(ChargeRequest { cents });
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    let mut client = tonic::client::Grpc::new(channel);
    let outcome = match client.ready().await {
        Ok(()) => {
            let codec = ProstCodec::<ChargeRequest, ChargeReply>::default();
            client.unary(request, axum::http::uri::PathAndQuery::from_static(PATH), codec).await.map(drop)
        }
        Err(error) => Err(Status::unavailable(error.to_string())),
    };
    finish(call, outcome.as_ref().err());
    outcome
}

fn attributes() -> Vec<KeyValue> {
    vec![
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.service", "shop.Payment"),
        KeyValue::new("rpc.method", "Charge"),
    ]
}

fn finish(call: Call, failed: Option<&Status>) {
    let code = failed.map_or(Code::Ok, Status::code);
    call.set(KeyValue::new("rpc.grpc.status_code", i64::from(code as i32)));
    if let Some(status) = failed {
        call.fail(&format!("{code:?}"), status.message());
    }
    call.end();
}
