//! Maps become bytes while a client reads them.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use extent::{Digest, Extent, ExtentMap, Source};
use futures::Stream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::files::OpenBlobs;
use crate::part::FilePart;
use crate::{Error, Store};

/// The longest chunk, for clients that keep up. A client holds one, and while a disk is read two: the one that is sent
/// and the one that is read meanwhile.
const CHUNK_LEN: usize = 256 << 10;
/// The length of the first chunks, and of chunks for whoever does not keep up: thousands of slow clients must not hold
/// half a megabyte each.
const CHUNK_LEN_MIN: usize = 16 << 10;
/// How long chunks may be when a client has taken so much; the last is more than a kernel buffers for it.
const PACES: [(u64, usize); 2] = [(1 << 20, 64 << 10), (8 << 20, CHUNK_LEN)];
/// A client keeps up when it asks for the next chunk within this time.
const PROMPT: Duration = Duration::from_millis(100);
/// Runs of zeros and inline bytes from this length on are chunks of their own, which costs no copy; so are ranges of
/// blobs for whoever sends files. Shorter ones (block headers, padding) are gathered with what is around them: a chunk of
/// three bytes costs a client more than copying them.
const ALONE_LEN: u64 = 32 << 10;
/// The longest part of a file that is sent at once. It holds no memory.
const PART_LEN_MAX: u64 = 1 << 20;

/// What every chunk of zeros is a slice of.
static ZEROS: LazyLock<Bytes> = LazyLock::new(|| vec![0; CHUNK_LEN].into());

/// The bytes that a map describes, in chunks. Made by [`Store::stream`].
///
/// Ends after the first error. May be dropped at any moment.
pub struct Chunks {
    map: ExtentMap,
    /// Where the next piece begins: after the chunk that is being read, if one is.
    offset: u64,
    open: Arc<Open>,
    reading: Option<Reading>,
    /// The last chunk that was read. When whoever got it has dropped it, the next one takes its place: memory that is
    /// warm, and neither allocated nor cleared.
    last: Bytes,
    /// When the last chunk was given out.
    given_at: Instant,
    /// The length of the next chunks.
    chunk_len: usize,
    /// Whether long ranges of blobs are given out as parts of files.
    as_files: bool,
    runtime: Handle,
}

struct Open {
    store: Store,
    blobs: OpenBlobs,
    /// Set by parts that could not be sent.
    failed: Arc<AtomicBool>,
}

/// A part of what a map describes.
#[derive(Debug)]
pub enum Part {
    /// The bytes.
    Bytes(Bytes),
    /// Where the bytes are, for a socket.
    File(FilePart),
}

/// The chunk after the last that was given out, once it had to be read from a disk.
enum Reading {
    /// Read on another thread, for it may have to wait.
    Blocking(JoinHandle<Result<Bytes, Error>>),
    /// It was in memory: the next one is looked for when it is asked for.
    Cached(Bytes),
}

/// What the next chunk is made of.
enum Piece {
    /// Nothing has to be read.
    Ready(Bytes),
    /// A short map, with blobs.
    Read(ExtentMap),
    /// A long range of one blob.
    Send(FilePart),
}

impl Store {
    /// The bytes that `map` describes, as a stream of chunks of at most 256 KiB.
    ///
    /// Before it returns, every blob is open and verified: a blob that is removed later is still read to its
    /// end, and one that changes later ends the stream with an error before a changed byte is given out. Open files
    /// are shared between streams; memory is two chunks for each at most, of 16 KiB until the client has shown that it
    /// keeps up. What the kernel has in memory is copied where the stream is polled; other reads block threads of the
    /// runtime's blocking pool only.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `OutOfRange`, `Io`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn stream(&self, map: ExtentMap) -> Result<Chunks, Error> {
        let runtime = Handle::current();
        let store = self.clone();
        let span = tracing::Span::current();
        let opening = runtime.spawn_blocking(move || {
            let _entered = span.entered();
            let blobs = OpenBlobs::of(&map, &store, |digest| store.blob(digest))?;
            blobs.check(&store)?;
            Ok::<_, Error>((map, Arc::new(Open { store, blobs, failed: Arc::default() })))
        });
        let (map, open) = joined(opening.await)?;
        Ok(Chunks {
            map,
            offset: 0,
            open,
            reading: None,
            last: Bytes::new(),
            given_at: Instant::now(),
            chunk_len: CHUNK_LEN_MIN,
            as_files: false,
            runtime,
        })
    }
}

impl Chunks {
    /// The next part, for who can send files: long ranges of blobs that are known to be intact are not read. Everything
    /// else is as in the stream.
    pub fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Part>>> {
        self.as_files = true;
        self.poll(context)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Part>>> {
        loop {
            match self.reading.take() {
                Some(Reading::Cached(bytes)) => {
                    self.last = bytes.clone();
                    return self.give(Part::Bytes(bytes));
                }
                Some(Reading::Blocking(mut reading)) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(context) else {
                        self.reading = Some(Reading::Blocking(reading));
                        return Poll::Pending;
                    };
                    return match joined(read) {
                        Ok(bytes) => {
                            let given = self.give(Part::Bytes(bytes));
                            self.read_ahead();
                            given
                        }
                        Err(error) => {
                            self.offset = self.map.len();
                            Poll::Ready(Some(Err(error.into())))
                        }
                    };
                }
                None if self.rest() == 0 => return Poll::Ready(None),
                None => {}
            }
            match self.piece() {
                Piece::Ready(bytes) => {
                    self.offset += bytes.len() as u64;
                    return self.give(Part::Bytes(bytes));
                }
                Piece::Send(part) => {
                    self.offset += part.len();
                    return self.give(Part::File(part));
                }
                Piece::Read(piece) => self.read(piece),
            }
        }
    }

    fn give(&mut self, part: Part) -> Poll<Option<io::Result<Part>>> {
        self.pace();
        Poll::Ready(Some(Ok(part)))
    }

    /// Whether a part of a file could not be sent because of the store, which the stream does not learn.
    pub fn has_failed(&self) -> bool {
        self.open.failed.load(Ordering::Relaxed)
    }

    /// Bytes that are still to come.
    fn rest(&self) -> u64 {
        self.map.len() - self.offset
    }

    /// The piece at `offset`.
    fn piece(&self) -> Piece {
        if self.as_files
            && let Some(part) = self.file_part()
        {
            return Piece::Send(part);
        }
        let window = self.map.slice(self.offset..self.offset.saturating_add(CHUNK_LEN as u64));
        let alone = |extent: &Extent| extent.len >= ALONE_LEN && (self.as_files || !is_blob(extent));
        let mut together = ExtentMap::new();
        for extent in window.extents() {
            if alone(extent) && !together.is_empty() {
                break;
            }
            together.push(extent.clone());
            if alone(extent) {
                break;
            }
        }
        if together.extents().iter().any(is_blob) {
            // Only what is read takes memory.
            let together = together.slice(0..self.chunk_len as u64);
            return Piece::Read(together);
        }
        match together.extents() {
            [Extent { source: Source::Inline(bytes), .. }] => Piece::Ready(bytes.clone()),
            [Extent { source: Source::Zero, len }] => Piece::Ready(ZEROS.slice(..chunk_len(*len))),
            mixed => {
                let mut bytes = Vec::with_capacity(chunk_len(together.len()));
                for extent in mixed {
                    match &extent.source {
                        Source::Inline(inline) => bytes.extend_from_slice(inline),
                        _ => bytes.resize(bytes.len() + chunk_len(extent.len), 0),
                    }
                }
                Piece::Ready(bytes.into())
            }
        }
    }

    /// The part of a file at `offset`, if it is long and nothing has to be hashed for it.
    fn file_part(&self) -> Option<FilePart> {
        let window = self.map.slice(self.offset..self.offset.saturating_add(PART_LEN_MAX));
        match window.extents().first() {
            Some(Extent { source: Source::Blob { digest, offset }, len }) if *len >= ALONE_LEN => {
                self.open.part(digest, *offset, *len)
            }
            _ => None,
        }
    }

    /// Chooses the length of the next chunks by how the client takes them.
    fn pace(&mut self) {
        let prompt = self.given_at.elapsed() < PROMPT;
        let reached = PACES.into_iter().rev().find(|(len, _)| prompt && self.offset >= *len);
        self.chunk_len = reached.map_or(CHUNK_LEN_MIN, |(_, chunk_len)| chunk_len);
        self.given_at = Instant::now();
    }

    /// Starts to read the next piece if it must be read.
    fn read_ahead(&mut self) {
        if self.rest() > 0
            && let Piece::Read(piece) = self.piece()
        {
            self.read(piece);
        }
    }

    /// Reads `piece`, at once or on another thread.
    fn read(&mut self, piece: ExtentMap) {
        self.offset += piece.len();
        let room = std::mem::take(&mut self.last).try_into_mut().unwrap_or_default();
        let cached = self.open.read_cached(&piece, room).map(Reading::Cached);
        self.reading = Some(cached.unwrap_or_else(|| {
            let open = Arc::clone(&self.open);
            Reading::Blocking(self.runtime.spawn_blocking(move || open.read(&piece)))
        }));
    }
}

impl Open {
    /// The bytes of `piece` if nothing has to be waited for: a hop to another thread and back costs more than the copy.
    fn read_cached(&self, piece: &ExtentMap, mut room: BytesMut) -> Option<Bytes> {
        let len = chunk_len(piece.len());
        // A client that became slow must not keep the room of a long chunk.
        if (len..=2 * len).contains(&room.capacity()) {
            room.resize(len, 0);
        } else {
            room = BytesMut::zeroed(len);
        }
        let read = self.blobs.read_cached(piece, &mut room);
        // After reading, as below.
        let known =
            read && piece.blobs().iter().all(|digest| self.store.known(self.blobs.get(digest)).is_some());
        known.then(|| room.freeze())
    }

    fn read(&self, piece: &ExtentMap) -> Result<Bytes, Error> {
        let mut bytes = vec![0; chunk_len(piece.len())];
        let read = self.blobs.read(piece, &mut bytes);
        // After reading, so that what was changed before it was read does not pass.
        for digest in piece.blobs() {
            self.store.check(self.blobs.get(&digest))?;
        }
        read?;
        Ok(bytes.into())
    }

    /// `len` bytes of a blob from `offset` on, for a socket, if the blob is known to be intact.
    fn part(&self, digest: &Digest, offset: u64, len: u64) -> Option<FilePart> {
        let blob = self.blobs.get(digest);
        let stamp = self.store.known(blob)?;
        let (store, blob, failed) = (self.store.clone(), Arc::clone(blob), Arc::clone(&self.failed));
        Some(FilePart::new(store, blob, stamp, offset..offset + len, failed))
    }
}

impl Stream for Chunks {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.as_files = false;
        self.poll(context).map(|next| match next? {
            Ok(Part::Bytes(bytes)) => Some(Ok(bytes)),
            Ok(Part::File(_)) => unreachable!("parts of files were not asked for"),
            Err(error) => Some(Err(error)),
        })
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        // A read that has not begun need not.
        if let Some(Reading::Blocking(reading)) = &self.reading {
            reading.abort();
        }
    }
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks")
            .field("len", &self.map.len())
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

fn is_blob(extent: &Extent) -> bool {
    matches!(extent.source, Source::Blob { .. })
}

fn chunk_len(len: u64) -> usize {
    usize::try_from(len).expect("a piece is no longer than a chunk")
}

/// What a blocking task says. The runtime ends tasks early only when it shuts down itself.
fn joined<T>(task: Result<Result<T, Error>, tokio::task::JoinError>) -> Result<T, Error> {
    match task {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::io("reading a blob")(io::Error::other(error))),
    }
}
