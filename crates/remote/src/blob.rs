//! Blobs, from a registry into the store: resumed where they broke off.
//!
//! ```text
//! registry ──▶ chunks ──▶ channel ──▶ Store::put_expected
//!    ▲           │ broken off at byte n
//!    └───────────┘ Range: bytes=n-, or all of it again and n bytes are skipped
//! ```
//!
//! The store sees one stream without a seam, hashes it and names it if the digest is right. If we give up, or the pull
//! is dropped, the stream ends with an error and not with an end.

use std::io::{self, Read};

use ::http::StatusCode;
use ::http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use bytes::{Buf as _, Bytes};
use extent::Digest;
use futures::FutureExt as _;
use store::{Descriptor, Store};
use tokio::sync::mpsc;

use crate::client::Access;
use crate::http::{Ask, at};
use crate::{Client, Error, Reference, flight};

/// Chunks between network and disk.
const CHUNKS_IN_FLIGHT: usize = 16;
/// A blob of which so much came since the last failure has all its tries again: a large blob over a bad line arrives.
const PROGRESS_LEN: u64 = 1 << 20;

/// What the network says to the disk.
enum Piece {
    Bytes(Bytes),
    End,
}

/// The reading end. An error where the network has gone without an end.
struct Pieces {
    receiver: mpsc::Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

/// What hears of bytes that came.
pub(crate) type Heard<'a> = &'a (dyn Fn(u64) + Send + Sync);

impl Client {
    /// Fetches a blob of `repository` into `store`, unless it is there. Gives the bytes that were fetched for it.
    pub(crate) async fn fetch(
        &self,
        repository: &Reference,
        store: &Store,
        blob: Descriptor,
        heard: Heard<'_>,
    ) -> Result<u64, Error> {
        let _flight = flight::board(blob.digest).await;
        if store.stat(&blob.digest)? == Some(blob.len) {
            return Ok(0);
        }
        match self.fetch_once(repository, store, blob, true, heard).await {
            // The seam was wrong: a server whose ranges are not what they say.
            Err((Error::DigestMismatch { .. }, true)) => {
                tracing::warn!(digest = %blob.digest, "a resumed blob is wrong, fetching it without ranges");
                self.fetch_once(repository, store, blob, false, heard).await
            }
            other => other,
        }
        .map_err(|(error, _)| error)
    }

    /// Errors say whether the blob was resumed.
    async fn fetch_once(
        &self,
        repository: &Reference,
        store: &Store,
        blob: Descriptor,
        ranges: bool,
        heard: Heard<'_>,
    ) -> Result<u64, (Error, bool)> {
        let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let target = store.clone();
        let put = tokio::task::spawn_blocking(move || {
            target.put_expected(Pieces { receiver, rest: Bytes::new(), ended: false }, blob.digest)
        });
        let mut stream = Stream { client: self, blob, ranges, at: 0, fetched: 0, resumed: false, heard };
        let streamed = stream.run(repository, &sender).await;
        if streamed.is_ok() {
            // Nobody there: the store has its answer already.
            let _ = sender.send(Piece::End).await;
        }
        drop(sender);
        let put = put.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let resumed = stream.resumed;
        match (streamed, put) {
            (Err(error), _) => Err((error, resumed)),
            (Ok(()), Ok(_)) => Ok(stream.fetched),
            (Ok(()), Err(store::Error::DigestMismatch { expected, actual })) => {
                let at = format!("{repository} blob {expected}");
                Err((Error::DigestMismatch { at, expected, actual }, resumed))
            }
            (Ok(()), Err(error)) => Err((error.into(), resumed)),
        }
    }

    /// All the bytes of a small blob, which are what its digest says.
    pub(crate) async fn small_blob(
        &self,
        repository: &Reference,
        digest: &Digest,
        what: &'static str,
        max: u64,
    ) -> Result<Bytes, Error> {
        let ask = |place| async move { self.small_blob_at(&place, digest, what, max).await }.boxed();
        self.anywhere(repository, ask).await
    }

    async fn small_blob_at(
        &self,
        repository: &Reference,
        digest: &Digest,
        what: &'static str,
        max: u64,
    ) -> Result<Bytes, Error> {
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        let mut retry = self.retry_at(repository);
        loop {
            let read = async {
                let answer = self.ask(repository, Access::Pull, Ask::get(url.clone(), &[])).await?;
                answer.body.bytes(what, max).await
            };
            match read.await {
                Ok(bytes) if Digest::of(&bytes) == *digest => return Ok(bytes),
                Ok(bytes) => {
                    let (expected, actual) = (*digest, Digest::of(&bytes));
                    return Err(Error::DigestMismatch { at: at(&url), expected, actual });
                }
                Err(error) => retry.after(error).await?,
            }
        }
    }
}

/// A blob on its way.
struct Stream<'a> {
    client: &'a Client,
    blob: Descriptor,
    ranges: bool,
    /// Bytes that the store has taken.
    at: u64,
    /// Bytes that came over the network.
    fetched: u64,
    resumed: bool,
    heard: Heard<'a>,
}

impl Stream<'_> {
    /// From the mirrors, or the registry itself: who comes next goes on where the one before broke off.
    async fn run(&mut self, repository: &Reference, sender: &mpsc::Sender<Piece>) -> Result<(), Error> {
        let mut tried = Vec::new();
        for place in self.client.options().mirrors.places(repository) {
            match self.run_at(&place, sender).await {
                Ok(()) => return Ok(()),
                Err(error) if error.may_be_elsewhere() => tried.push(error),
                Err(error) => return Err(error),
            }
            self.resumed |= self.at > 0;
        }
        Err(Error::everywhere(tried))
    }

    async fn run_at(&mut self, place: &Reference, sender: &mpsc::Sender<Piece>) -> Result<(), Error> {
        let mut retry = self.client.retry_at(place);
        let mut mark = self.at;
        loop {
            let Err(error) = self.run_once(place, sender).await else { return Ok(()) };
            if self.at - mark >= PROGRESS_LEN {
                retry.reset();
                mark = self.at;
            }
            retry.after(error).await?;
            self.resumed |= self.at > 0;
        }
    }

    async fn run_once(&mut self, place: &Reference, sender: &mpsc::Sender<Piece>) -> Result<(), Error> {
        let url = self.client.url(place, &format!("blobs/{}", self.blob.digest))?;
        let from = format!("bytes={}-", self.at);
        let len = self.blob.len;
        if self.at == len && len > 0 {
            return Ok(());
        }
        let range = [(RANGE, from.as_str())];
        let ask = Ask::get(url.clone(), if self.ranges && self.at > 0 { &range } else { &[] });
        let mut answer = self.client.ask(place, Access::Pull, ask).await?;
        let bad = |wanted| Error::BadAnswer { at: at(&url), wanted };
        let mut skip = if answer.status == StatusCode::PARTIAL_CONTENT {
            let range = answer.header(CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes "));
            let start = range.and_then(|range| range.split('-').next()).and_then(|start| start.parse().ok());
            if start != Some(self.at) {
                return Err(bad("the range that was asked for"));
            }
            0
        } else {
            let said = answer.header(CONTENT_LENGTH).and_then(|len| len.parse::<u64>().ok());
            if said.is_some_and(|said| said != len) {
                return Err(bad("a blob has the length that its descriptor says"));
            }
            self.at
        };
        while let Some(mut chunk) = answer.body.chunk().await? {
            self.fetched += chunk.len() as u64;
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            chunk.advance(usize::try_from(skipped).expect("no more than the chunk"));
            let new = chunk.len() as u64;
            if self.at + new > len {
                return Err(Error::TooLong { at: at(&url), what: "blob", max: len });
            }
            if new > 0 {
                if sender.send(Piece::Bytes(chunk)).await.is_err() {
                    // The store needs no more or can take no more; it says which.
                    return Ok(());
                }
                self.at += new;
                (self.heard)(new);
            }
        }
        if self.at < len {
            return Err(Error::Truncated { at: at(&url), len: self.at, wanted: len });
        }
        Ok(())
    }
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.rest = bytes,
                Some(Piece::End) => self.ended = true,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let len = self.rest.len().min(buf.len());
        self.rest.copy_to_slice(&mut buf[..len]);
        Ok(len)
    }
}
