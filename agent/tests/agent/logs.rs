//! Reading the output of tasks over gRPC.

use proffer_model::TaskState;
use proffer_proto::v1;
use proffer_proto::v1::tasks_client::TasksClient;
use tonic::{Code, Request};

use crate::bench::{Bench, lines, shell};

fn request(bench: &Bench, logs: v1::LogsRequest) -> Request<v1::LogsRequest> {
    let token = std::fs::read_to_string(bench.path().join("token")).unwrap();
    let mut request = Request::new(logs);
    let value = format!("Bearer {}", token.trim()).parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn of(task: &str) -> v1::LogsRequest {
    v1::LogsRequest {
        framework_id: "f".to_owned(),
        task_id: task.to_owned(),
        ..v1::LogsRequest::default()
    }
}

async fn read(bench: &Bench, logs: v1::LogsRequest) -> Result<String, tonic::Status> {
    let address = format!("http://{}", bench.listen());
    let mut client = TasksClient::connect(address).await.unwrap();
    let mut stream = client.logs(request(bench, logs)).await?.into_inner();
    let mut text = Vec::new();
    while let Some(chunk) = stream.message().await? {
        assert!(chunk.data.len() <= 64 * 1024);
        text.extend(chunk.data);
    }
    Ok(String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_read_whole_or_from_its_last_lines() {
    let mut bench = Bench::started().await;
    bench
        .launch(1, shell("t", "seq 1 50000; echo bad >&2"))
        .await;
    bench.until(TaskState::Finished).await;
    let all = read(&bench, of("t")).await.unwrap();
    assert_eq!(all.lines().count(), 50_000);
    let tail = v1::LogsRequest {
        tail_lines: Some(2),
        ..of("t")
    };
    assert_eq!(read(&bench, tail).await.unwrap(), "49999\n50000\n");
    let errors = v1::LogsRequest {
        output: v1::Output::Stderr.into(),
        ..of("t")
    };
    assert_eq!(read(&bench, errors).await.unwrap(), "bad\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_followed_to_the_end_of_its_task() {
    let mut bench = Bench::started().await;
    bench
        .launch(
            1,
            shell(
                "t",
                "echo one; while ! [ -e go ]; do sleep 0.01; done; echo two",
            ),
        )
        .await;
    bench.until(TaskState::Running).await;
    lines(&bench.run().join("stdout"), 1).await;
    let address = format!("http://{}", bench.listen());
    let mut client = TasksClient::connect(address).await.unwrap();
    let follow = v1::LogsRequest {
        follow: true,
        ..of("t")
    };
    let answer = client.logs(request(&bench, follow)).await.unwrap();
    let mut stream = answer.into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().data, "one\n");
    std::fs::write(bench.run().join("sandbox/go"), "").unwrap();
    bench.until(TaskState::Finished).await;
    let mut rest = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        rest.extend(chunk.data);
    }
    assert_eq!(rest, b"two\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_their_field() {
    let bench = Bench::started().await;
    let cases = [
        (of("unknown"), Code::NotFound, "task.unknown"),
        (of(""), Code::InvalidArgument, "field.missing"),
        (of("../../etc"), Code::InvalidArgument, "id.invalid"),
        (
            v1::LogsRequest {
                framework_id: "a/b".into(),
                ..of("t")
            },
            Code::InvalidArgument,
            "id.invalid",
        ),
    ];
    for (logs, code, name) in cases {
        let status = read(&bench, logs.clone()).await.unwrap_err();
        assert_eq!(status.code(), code, "{logs:?}: {status:?}");
        assert_eq!(proffer_proto::problem_of(&status).code, name, "{logs:?}");
    }
    let long = of(&"t".repeat(5_000_000));
    let status = read(&bench, long).await.unwrap_err();
    let problem = proffer_proto::problem_of(&status);
    assert_eq!(
        (problem.code.as_ref(), status.details().is_empty()),
        ("field.too_long", false)
    );
    assert!(problem.hint.contains("4194304"), "{problem}");
    let address = format!("http://{}", bench.listen());
    let mut client = TasksClient::connect(address).await.unwrap();
    let status = client.logs(of("t")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}
