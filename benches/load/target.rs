//! Where to: one connection of a sender, and its acknowledgement of each request.

use anyhow::{Context, bail};
use bytes::{Buf, BufMut, Bytes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use weir_proto::frame;
use weir_proto::push::{Frame, Hello, STREAM_PATH, ToAgent, ToCollector, to_agent, to_collector};

use crate::shape::Shape;
use crate::{Args, Protocol, Signal};

/// A connection.
pub(crate) enum Target {
    /// OTLP/gRPC.
    Grpc(Grpc<Channel>, &'static str),
    /// OTLP/HTTP.
    Http(reqwest::Client, String),
    /// Weir's push stream.
    Push(Box<Push>),
}

/// An open push stream with one frame in flight.
pub(crate) struct Push {
    frames: mpsc::Sender<ToCollector>,
    answers: Streaming<ToAgent>,
    encoder: frame::Encoder,
    position: u64,
}

impl Target {
    /// Connects sender `number`.
    pub(crate) async fn connect(args: &Args, number: usize) -> anyhow::Result<Self> {
        let (service, path) = match args.signal {
            Signal::Points => ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", "/v1/metrics"),
            Signal::Spans => ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "/v1/traces"),
        };
        if args.protocol == Protocol::Http {
            let url = format!("{}{path}", args.url.trim_end_matches('/'));
            return Ok(Self::Http(reqwest::Client::new(), url));
        }
        let channel = Endpoint::from_shared(args.url.clone())?.connect().await;
        let grpc = Grpc::new(channel.with_context(|| format!("nothing answers at {}", args.url))?);
        match args.protocol {
            Protocol::Push => Ok(Self::Push(Box::new(Push::open(grpc, number).await?))),
            _ => Ok(Self::Grpc(grpc, service)),
        }
    }

    /// Sends one request; whether it was acknowledged. "Full" is no error: it was refused.
    pub(crate) async fn send(&mut self, shape: &mut Shape) -> anyhow::Result<bool> {
        match self {
            Self::Grpc(grpc, service) => {
                grpc.ready().await?;
                let path = http::uri::PathAndQuery::from_static(service);
                match grpc.unary(tonic::Request::new(shape.body()), path, Raw).await {
                    Ok(_) => Ok(true),
                    Err(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => Ok(false),
                    Err(status) => bail!("the server refused: {status}"),
                }
            }
            Self::Http(client, url) => {
                let request = client.post(url.as_str()).header("content-type", "application/x-protobuf");
                let answer = request.body(shape.body()).send().await?;
                match answer.status().as_u16() {
                    200 => Ok(true),
                    429 | 503 => Ok(false),
                    status => bail!("the server answered {status}: {}", answer.text().await.unwrap_or_default()),
                }
            }
            Self::Push(push) => push.send(shape).await,
        }
    }
}

impl Push {
    async fn open(mut grpc: Grpc<Channel>, number: usize) -> anyhow::Result<Self> {
        grpc.ready().await?;
        let (frames, outgoing) = mpsc::channel(4);
        let mut agent_id = vec![0; 16];
        agent_id[..8].copy_from_slice(&(number as u64).to_le_bytes());
        // Positions begin anew at each run, so each run is another agent.
        agent_id[8..].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
        let hello = Hello { agent_id, node: "weir-load".to_owned(), lowest_unacked: 1, version: "1".to_owned() };
        frames.send(ToCollector { message: Some(to_collector::Message::Hello(hello)) }).await?;
        let path = http::uri::PathAndQuery::from_static(STREAM_PATH);
        let codec = ProstCodec::<ToCollector, ToAgent>::default();
        let answers =
            grpc.streaming(tonic::Request::new(ReceiverStream::new(outgoing)), path, codec).await?.into_inner();
        Ok(Self { frames, answers, encoder: frame::Encoder::new(), position: 0 })
    }

    async fn send(&mut self, shape: &mut Shape) -> anyhow::Result<bool> {
        self.position += 1;
        let mut payload = Vec::new();
        self.encoder.encode(shape.batch(), &mut payload)?;
        let frame = Frame {
            position: self.position,
            epoch: 1,
            epoch_start: self.position == 1,
            payload: payload.into(),
            lowest_unacked: self.position,
        };
        self.frames.send(ToCollector { message: Some(to_collector::Message::Frame(frame)) }).await?;
        loop {
            let answer = self.answers.message().await?.context("the collector ended the stream")?;
            match answer.message {
                Some(to_agent::Message::Ack(ack)) if ack.positions.contains(&self.position) => return Ok(true),
                Some(to_agent::Message::Full(full)) => bail!("the collector is full: {}", full.reason),
                Some(to_agent::Message::Refused(refused)) => bail!("the collector refused: {}", refused.reason),
                _ => {}
            }
        }
    }
}

/// Bytes as they are, out and in.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
