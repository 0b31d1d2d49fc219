//! Requests, and answers that are read as slowly as one likes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Fallible;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// Header fields, each with its line end.
    pub fields: &'a str,
    pub body: &'a str,
}

/// An answer being read.
pub struct Response<'a> {
    pub status: u16,
    /// Bytes of the body that are still to come.
    pub left: u64,
    stream: &'a mut TcpStream,
    /// What came of the body with the header.
    ahead: Vec<u8>,
}

impl<'a> Request<'a> {
    /// A plain GET.
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, fields: "", body: "" }
    }

    /// A schematic to be registered.
    pub fn post(schematic: &'a str) -> Self {
        Self { method: "POST", path: "/schematics", fields: "", body: schematic }
    }

    /// The bytes that ask it of `host`.
    pub fn text(&self, host: &str) -> String {
        let Self { method, path, fields, body } = self;
        let len = match body.len() {
            0 => String::new(),
            len => format!("Content-Length: {len}\r\n"),
        };
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}{len}\r\n{body}")
    }
}

impl<'a> Response<'a> {
    /// Asks for `path`, and reads the header of the answer, which must be 200.
    pub async fn get(stream: &'a mut TcpStream, host: &str, path: &str) -> Fallible<Self> {
        let response = Self::ask(stream, host, Request::get(path)).await?;
        if response.status != 200 {
            return Err(format!("{path}: {}", response.status).into());
        }
        Ok(response)
    }

    /// Asks, and reads the header of the answer.
    pub async fn ask(stream: &'a mut TcpStream, host: &str, request: Request<'_>) -> Fallible<Self> {
        stream.write_all(request.text(host).as_bytes()).await?;
        let mut read = Vec::new();
        let end = loop {
            let mut chunk = [0; 2048];
            let len = stream.read(&mut chunk).await?;
            if len == 0 {
                return Err("the answer ended in its header".into());
            }
            read.extend_from_slice(&chunk[..len]);
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
        };
        let header = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let status = header.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.ok_or("no status line")?.parse()?;
        let len = header.lines().find_map(|line| line.strip_prefix("content-length: "));
        let left = match (len, status) {
            (_, 204 | 304) => 0,
            (Some(len), _) => len.trim().parse()?,
            (None, _) => return Err("no content-length".into()),
        };
        Ok(Self { status, left, stream, ahead: read.split_off(end + 4) })
    }

    /// Some of the body; 0 at its end.
    pub async fn body(&mut self, chunk: &mut [u8]) -> Fallible<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let len = if self.ahead.is_empty() {
            self.stream.read(chunk).await?
        } else {
            let len = self.ahead.len().min(chunk.len());
            chunk[..len].copy_from_slice(&self.ahead[..len]);
            self.ahead.drain(..len);
            len
        };
        if len == 0 {
            return Err("the answer is shorter than it said".into());
        }
        self.left = self.left.checked_sub(len as u64).ok_or("the answer is longer than it said")?;
        Ok(len)
    }

    /// The rest of the body, which is a short text.
    pub async fn text(mut self) -> Fallible<String> {
        let (mut text, mut chunk) = (Vec::new(), [0; 2048]);
        loop {
            match self.body(&mut chunk).await? {
                0 => return Ok(String::from_utf8(text)?),
                len => text.extend_from_slice(&chunk[..len]),
            }
        }
    }
}

/// The id of a schematic that the server has then.
pub async fn register(at: &str, schematic: &str) -> Fallible<String> {
    let mut stream = TcpStream::connect(at).await?;
    let response = Response::ask(&mut stream, at, Request::post(schematic)).await?;
    let status = response.status;
    let text = response.text().await?;
    match text.split("\"id\":\"").nth(1).and_then(|rest| rest.get(..64)) {
        Some(id) if status == 201 => Ok(id.to_owned()),
        _ => Err(format!("a schematic was answered with {status}").into()),
    }
}
