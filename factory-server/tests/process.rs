//! The program: its flags, its first line, its log, its end.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use extent::Digest;
use serde_json::Value;
use support::{Made, SCHEMATIC, VERSION, complete};

const EMPTY: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";

/// A running server; killed when it goes out of scope.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_factory-server"));
    command.env_remove("RUST_LOG").env("IMAGER_STORE", store).args(["--listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts the server; gives the address that it prints.
fn start(store: &Path, flags: &[&str]) -> (Program, String) {
    started(command(store).args(flags))
}

/// The same, of a command that is ready.
fn started(command: &mut Command) -> (Program, String) {
    let mut program = Program(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(program.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("http://127.0.0.1:") && line.ends_with('\n'), "{line:?}");
    (program, line.trim().to_owned())
}

/// Tells the server to stop by `signal`; gives its exit code and its log.
fn stop(mut program: Program, signal: &str) -> (Option<i32>, String) {
    self::signal(&program, signal);
    let mut log = String::new();
    program.0.stderr.as_mut().unwrap().read_to_string(&mut log).unwrap();
    (program.0.wait().unwrap().code(), log)
}

#[tokio::test]
async fn it_says_where_it_listens_logs_requests_and_stops_on_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let (program, url) = start(dir.path(), &["--log-format", "json"]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = client.post(format!("{url}/schematics")).header("x-request-id", "seven").body("{}");
    let answer = post.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let len = answer.bytes().await.unwrap().len();
    assert_eq!(client.get(format!("{url}/none?secret=1")).send().await.unwrap().status(), 404);
    let (code, log) = stop(program, "-TERM");
    assert_eq!(code, Some(0), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests: Vec<&Value> = lines.iter().filter(|line| line["message"] == "request").collect();
    assert_eq!(requests.len(), 2, "{log}");
    let first = requests[0];
    assert_eq!(
        (&first["method"], &first["path"], &first["status"]),
        (&"POST".into(), &"/schematics".into(), &201.into())
    );
    assert_eq!(first["request.id"], "seven");
    assert_eq!(first["size_bytes"], len);
    assert!(first["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(!log.contains("secret"), "queries may hold tokens: {log}");

    let (program, _) = start(dir.path(), &[]);
    assert_eq!(stop(program, "-INT").0, Some(0));
}

/// A server that works for a client, and does not come to an end with it until the sender goes.
async fn busy(drain: &str) -> (Made, Program, mpsc::Sender<()>) {
    let made = complete();
    let store = made.dir.path().join("store");
    let (program, url) =
        started(command(&store).env("IF_HTTP_DRAINTIMEOUT", drain).env("IF_METRICS_ADDR", ""));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let taken = client.post(format!("{url}/schematics")).body("{}").send().await.unwrap();
    let taken: Value = taken.json().await.unwrap();
    let url = format!("{url}/image/{}/{VERSION}/metal-amd64.raw", taken["id"].as_str().unwrap());
    let plan: Value = client.get(format!("{url}.plan.json")).send().await.unwrap().json().await.unwrap();
    let id = Digest::from_hex(plan["etag"].as_str().unwrap().trim_matches('"')).unwrap();

    let (begins, begun) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let deriver = made.store.clone();
    std::thread::spawn(move || {
        let work = || {
            begins.send(()).unwrap();
            let _ = held.recv();
            Ok::<_, store::Error>(String::new())
        };
        deriver.derive("sha256", 1, &[id], work).unwrap();
    });
    begun.recv().unwrap();
    let waiting = client.get(format!("{url}.sha256")).send();
    let waiting = tokio::time::timeout(Duration::from_secs(1), waiting).await;
    assert!(waiting.is_err(), "it waits for the checksum");
    (made, program, release)
}

/// The exit code, which comes soon.
fn ended(program: &mut Program) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = program.0.try_wait().unwrap() {
            return status.code();
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(program: &Program, signal: &str) {
    assert!(Command::new("kill").args([signal, &program.0.id().to_string()]).status().unwrap().success());
}

#[tokio::test]
async fn work_for_somebody_who_left_does_not_hold_the_end_up() {
    let (_made, mut program, _release) = busy("300ms").await;
    signal(&program, "-TERM");
    assert_eq!(ended(&mut program), Some(0));
}

#[tokio::test]
async fn the_second_signal_ends_it() {
    let made = complete();
    let store = made.dir.path().join("store");
    let mut command = command(&store);
    let (mut program, url) = started(command.env("IF_HTTP_DRAINTIMEOUT", "1h").env("IF_METRICS_ADDR", ""));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.post(format!("{url}/schematics")).body("{}").send().await.unwrap().error_for_status().unwrap();
    // A download that nobody reads.
    let address = url.strip_prefix("http://").unwrap();
    let mut stalled = TcpStream::connect(address).unwrap();
    let head = format!("GET /image/{EMPTY}/{VERSION}/metal-amd64.raw HTTP/1.1\r\nHost: a\r\n\r\n");
    stalled.write_all(head.as_bytes()).unwrap();
    stalled.read_exact(&mut [0; 12]).unwrap();
    signal(&program, "-TERM");
    // It has heard it when it takes no more connections.
    while TcpStream::connect(address).is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(program.0.try_wait().unwrap(), None);
    signal(&program, "-INT");
    assert_eq!(ended(&mut program), Some(1));
}

#[test]
fn who_listens_everywhere_and_is_told_no_address_is_warned() {
    let dir = tempfile::tempdir().unwrap();
    for (url, is_warned) in [("", true), ("http://factory.example", false)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_factory-server"));
        command.env_remove("RUST_LOG").env("IMAGER_STORE", dir.path()).env("IF_HTTP_EXTERNALURL", url);
        command.env("IF_METRICS_ADDR", "").args(["--listen", "0.0.0.0:0"]);
        let mut program = Program(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(program.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("http://localhost:"), "{line}");
        let (code, log) = stop(program, "-TERM");
        assert_eq!((code, log.contains("set `http.externalURL`")), (Some(0), is_warned), "{log}");
    }
}

#[test]
fn it_allows_itself_as_many_open_files_as_it_may_have() {
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn 50; ulimit -Hn 500; exec \"$0\" --listen 127.0.0.1:0"]);
    shell.arg(env!("CARGO_BIN_EXE_factory-server")).env("IMAGER_STORE", dir.path());
    let mut program = Program(shell.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    BufReader::new(program.0.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.0.id())).unwrap();
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().collect::<Vec<_>>(), ["500", "500", "files"]);
}

#[test]
fn what_keeps_it_from_serving_is_said() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("letter"), "dear").unwrap();
    let output = command(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("neither a store nor empty"));
    let output = command(dir.path()).args(["--log-format", "xml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn every_line_about_a_request_has_its_id() {
    let made = complete();
    let store = made.dir.path().join("store");
    let mut program = command(&store);
    program.env("RUST_LOG", "debug").args(["--log-format", "json"]);
    let (program, url) = started(&mut program);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let taken = client.post(format!("{url}/schematics")).body(SCHEMATIC).send().await.unwrap();
    let taken: Value = taken.json().await.unwrap();
    let id = taken["id"].as_str().unwrap();
    let path = format!("{url}/image/{id}/{VERSION}/initramfs-amd64.xz");
    let answer = client.get(path).header("x-request-id", "seven").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let len = answer.bytes().await.unwrap().len();
    let (code, log) = stop(program, "-TERM");
    assert_eq!(code, Some(0), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Work on threads of its own, planning, and a body that ends long after its handler.
    let table = [
        ("deriving", &["request", "resolve", "derive"][..]),
        ("resolved", &["request", "resolve"]),
        ("planned", &["request", "plan"]),
        ("streamed", &["request", "stream"]),
    ];
    for (message, names) in table {
        let line = lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{log}"));
        let spans = line["spans"].as_array().unwrap();
        let found: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{line}");
        assert_eq!(spans[0]["request.id"], "seven", "{line}");
        match *names.last().unwrap() {
            "resolve" => {
                let span = &spans[1];
                assert_eq!(
                    (&span["schematic"], &span["version"], &span["asset"]),
                    (&id.into(), &VERSION.into(), &"initramfs-amd64.xz".into())
                );
            }
            "stream" => assert_eq!(spans[1]["size_bytes"], len),
            _ => {}
        }
    }
    let requests: Vec<&Value> = lines.iter().filter(|line| line["message"] == "request").collect();
    assert_eq!(requests.len(), 2, "{log}");
    assert_eq!((&requests[1]["request.id"], &requests[1]["spans"]), (&"seven".into(), &Value::Null));
}

#[tokio::test]
async fn metrics_have_an_address_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("factory.yaml");
    std::fs::write(&config, "metrics: {addr: '127.0.0.1:0'}").unwrap();
    let (mut program, url) = start(&dir.path().join("store"), &["--config", config.to_str().unwrap()]);
    let mut log = BufReader::new(program.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let served = log.find(|line| line.contains("metrics are served")).unwrap();
    let address = served.split("addr=").nth(1).unwrap().trim().to_owned();
    std::fs::write(&config, format!("metrics: {{addr: '{address}'}}")).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(format!("{url}/healthz")).send().await.unwrap().status(), 200);
    let exposed = client.get(format!("http://{address}/metrics")).send().await.unwrap();
    assert!(exposed.text().await.unwrap().contains("http_request_duration_seconds_count"));
    assert_eq!(client.get(format!("{url}/metrics")).send().await.unwrap().status(), 404);
    // A second server wants the same address, and was told so.
    let second =
        command(&dir.path().join("store")).args(["--config", config.to_str().unwrap()]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("for metrics"));
    signal(&program, "-TERM");
    log.for_each(drop);
    assert_eq!(ended(&mut program), Some(0));
}
