//! A whole agent: from a socket into the queue on disk, without a collector, through a restart.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_proto::config::ConfigFile;

use super::*;
use crate::settings::AgentFlags;

fn settings(dir: &Path) -> AgentSettings {
    let flags = AgentFlags {
        otlp_grpc: Some("127.0.0.1:0".into()),
        otlp_http: Some("127.0.0.1:0".into()),
        // Nobody listens there.
        collector: Some("127.0.0.1:1".into()),
        node: Some("test".into()),
    };
    let file = ConfigFile::parse("weir: {host: {enabled: false}}\n", |_| None).unwrap();
    AgentSettings::resolve(&file, &flags, dir.to_path_buf()).unwrap()
}

async fn send_span(to: SocketAddr) -> String {
    let body = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"x","startTimeUnixNano":"1795000000000000000","endTimeUnixNano":"1795000000500000000","kind":2}]}]}]}"#;
    let mut connection = TcpStream::connect(to).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_queue_after_a_restart_without_a_collector() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(settings(dir.path())).await.unwrap();
    for port in [agent.otlp_grpc, agent.otlp_http] {
        assert!(send_span(port).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(agent.queue.head().borrow().unacked, 2);
    agent.shutdown().await.unwrap();
    let agent = Agent::start(settings(dir.path())).await.unwrap();
    assert_eq!(agent.queue.head().borrow().unacked, 2);
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_agent_per_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(settings(dir.path())).await.unwrap();
    let Err(error) = Agent::start(settings(dir.path())).await else { panic!("two agents in one directory") };
    assert!(error.to_string().contains("in use by another agent"), "{error}");
    assert_eq!(error.kind(), AgentErrorKind::Unavailable);
    agent.shutdown().await.unwrap();
    Agent::start(settings(dir.path())).await.unwrap();
}

#[tokio::test]
async fn refusals_are_told_and_probes_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let told: Arc<std::sync::Mutex<Vec<&'static str>>> = Arc::default();
    let telling = Arc::clone(&told);
    let settings = AgentSettings {
        on_refusal: Arc::new(move |_, what| telling.lock().unwrap().push(what.reason)),
        ..settings(dir.path())
    };
    let agent = Agent::start(settings).await.unwrap();
    for (request, code) in [
        ("POST /v1/metrics HTTP/1.1\r\ncontent-type: text/css\r\ncontent-length: 0\r\n", "415"),
        ("GET /-/healthy HTTP/1.1\r\n", "200"),
        ("GET /metrics HTTP/1.1\r\n", "200"),
    ] {
        let mut connection = TcpStream::connect(agent.otlp_http).await.unwrap();
        connection.write_all(format!("{request}host: weir\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(code), "{request}");
    }
    assert_eq!(*told.lock().unwrap(), ["media_type"]);
    agent.shutdown().await.unwrap();
}
