//! A proxy that does as a test says: everybody it is asked for is at one address.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// What a [`Proxy`] does with a request.
#[derive(Clone, Copy)]
pub enum Manners {
    /// Passes it on.
    Passes,
    /// Passes it on for who has this `Proxy-Authorization`, else answers 407.
    Wants(&'static str),
    /// Answers with a status.
    Answers(u16),
    /// Says nothing.
    Hangs,
    /// Breaks the connection off.
    HangsUp,
    /// Answers with what is no HTTP.
    Babbles,
}

/// A proxy on a port of its own.
pub struct Proxy {
    pub host: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// In front of `to`.
    pub async fn start(to: &str, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (to, seen) = (to.to_owned(), Arc::clone(&heads));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, to.clone(), manners, Arc::clone(&seen)));
            }
        });
        Self { host, heads }
    }

    /// The heads of requests that it has seen.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, to: String, manners: Manners, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    heads.lock().unwrap().push(head.clone());
    let login = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().starts_with("proxy-authorization: ").then(|| &line[21..]));
    let refused = match manners {
        Manners::Passes => None,
        Manners::Wants(wanted) => (login != Some(wanted)).then_some(407),
        Manners::Answers(status) => Some(status),
        Manners::Hangs => return tokio::time::sleep(Duration::from_mins(1)).await,
        Manners::HangsUp => return,
        Manners::Babbles => {
            let _ = stream.write_all(&b"220 mail.example ESMTP\r\n".repeat(1000)).await;
            return;
        }
    };
    if let Some(status) = refused {
        let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
    let mut upstream = TcpStream::connect(to).await.unwrap();
    if head.starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    } else {
        // One request to a connection, so that each is seen; and the login stays here.
        let lines = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("proxy-authorization"));
        let mut passed: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
        passed.extend(["connection: close", "", ""]);
        upstream.write_all(passed.join("\r\n").as_bytes()).await.unwrap();
    }
    let _ = copy_bidirectional(&mut stream, &mut upstream).await;
}
