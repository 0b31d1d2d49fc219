//! The content of files: blocks, fragments and where they end up.
//!
//! Lengths alone decide what is a block, which tail goes into which fragment and in what order all are stored;
//! only zeros and duplicates are found by reading. So the jobs for the threads are known ahead and their results
//! fall into place.
//!
//!   file a: ▓▓▓▓▓▒    file b: ▒    file c: ▓▓·▓▒         ▓ block  · hole  ▒ tail
//!   stored: ▓▓▓▓▓ ▓▓▓ [▒▒▒]

use std::collections::VecDeque;
use std::io::Write;
use std::ops::Range;

use bytes::BufMut;
use extent::{Blobs, read_at};

use super::compress::{Compressor, Form};
use super::duplicates::Duplicates;
use super::nodes::File;
use super::queue::with_threads;
use super::sparse::{is_zero, zero_blocks};
use super::{Error, Options};

/// Set in the stored length of a block that is not compressed.
const RAW: u32 = 1 << 24;

/// Where the content of all files is.
pub(super) struct Data {
    placed: Vec<Placed>,
    /// For each file the one whose blocks it shares, most often itself.
    same: Vec<usize>,
    /// Position and stored length of each fragment.
    fragments: Vec<(u64, u32)>,
    /// Position after the last block.
    pub(super) end: u64,
}

/// Where the content of a file is.
#[derive(Clone, Default)]
pub(super) struct Placed {
    /// Position of the first stored block.
    pub(super) start: u64,
    /// Stored length of each block, 0 for a hole.
    pub(super) blocks: Vec<u32>,
    /// Number of the fragment with the tail, and offset in it.
    pub(super) fragment: Option<(u32, u32)>,
    /// Bytes in holes.
    pub(super) holes: u64,
}

impl Data {
    /// Where the content of `file` is.
    pub(super) fn placed(&self, file: usize) -> &Placed {
        &self.placed[self.same[file]]
    }

    /// How many fragments there are.
    pub(super) fn fragment_count(&self) -> Result<u32, Error> {
        let (len, max) = (self.fragments.len() as u64, u64::from(u32::MAX));
        u32::try_from(len).map_err(|_| Error::TableTooLarge { table: "fragment", len, max })
    }

    /// The entries of the fragment table: position, stored length, nothing.
    pub(super) fn fragment_table(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity(self.fragments.len() * 16);
        for (start, stored) in &self.fragments {
            table.put_u64_le(*start);
            table.put_u32_le(*stored);
            table.put_u32_le(0);
        }
        table
    }
}

/// A block to be read and compressed.
struct Job {
    /// What it consists of.
    pieces: Vec<Piece>,
    /// Whose it is.
    owner: Owner,
    /// Room for the result.
    stored: Vec<u8>,
}

/// A part of a file.
struct Piece {
    file: usize,
    range: Range<u64>,
}

#[derive(Clone, Copy)]
enum Owner {
    /// Block `block` of `file`, `len` bytes.
    File {
        file: usize,
        block: usize,
        len: u64,
    },
    Fragment,
}

/// A job done.
struct Done {
    owner: Owner,
    /// None for a hole.
    form: Option<Form>,
    stored: Vec<u8>,
}

/// Writes the content of `files` to `out`, whose position in the file system is `start`.
pub(super) fn write(
    files: &[File],
    options: &Options,
    blobs: &dyn Blobs,
    out: &mut impl Write,
    start: u64,
) -> Result<Data, Error> {
    let worker = || {
        let mut reader = Reader { files, blobs, options, compressor: None, block: Vec::new() };
        move |job: Job| reader.work(job)
    };
    let mut layout = Layout::new(files, options, blobs, start);
    let block_len = u64::from(options.block_size);
    let blocks: u64 = files.iter().map(|file| file.content.len().div_ceil(block_len)).sum();
    // No more threads than there can be jobs beside the one that is done here: to begin one takes longer than a small file
    // system does.
    let jobs = usize::try_from(blocks).unwrap_or(usize::MAX);
    let threads = jobs.saturating_sub(1).min(options.threads.get());
    with_threads(threads, worker, |mut queue| {
        let mut spare = Vec::new();
        loop {
            while queue.has_room() {
                let Some((owner, pieces)) = layout.next()? else { break };
                queue.push(Job { pieces, owner, stored: spare.pop().unwrap_or_default() });
            }
            let Some(done) = queue.pop() else { break };
            let done = done?;
            layout.place(&done);
            if done.form.is_some() {
                out.write_all(&done.stored).map_err(Error::Write)?;
            }
            spare.push(done.stored);
        }
        Ok(layout.data)
    })
}

/// What a thread needs.
struct Reader<'a> {
    files: &'a [File<'a>],
    blobs: &'a dyn Blobs,
    options: &'a Options,
    compressor: Option<Compressor>,
    block: Vec<u8>,
}

impl Reader<'_> {
    fn work(&mut self, job: Job) -> Result<Done, Error> {
        let Job { pieces, owner, mut stored } = job;
        let mut filled = 0;
        for Piece { file, range } in pieces {
            let File { path, content } = self.files[file];
            let len = usize::try_from(range.end - range.start).expect("a block is in memory");
            if self.block.len() < filled + len {
                self.block.resize(filled + len, 0);
            }
            read_at(content, range.start, &mut self.block[filled..filled + len], self.blobs)
                .map_err(|source| Error::Read { path: path.clone(), source })?;
            filled += len;
        }
        let block = &self.block[..filled];
        if matches!(owner, Owner::File { .. }) && is_zero(block) {
            return Ok(Done { owner, form: None, stored });
        }
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::of(self.options, self.options.block_size)?),
        };
        let form = compressor.compress(block, &mut stored)?;
        Ok(Done { owner, form: Some(form), stored })
    }
}

/// The order of jobs, and where their results end up.
struct Layout<'a> {
    files: &'a [File<'a>],
    block_len: u64,
    duplicates: Duplicates<'a>,
    data: Data,
    /// The blocks of the last file that are still to be read.
    blocks: VecDeque<Range<u64>>,
    /// The tails of the fragment that is not full yet.
    open: Vec<Piece>,
    open_len: u64,
    /// Fragments that were full before.
    closed: u32,
}

impl<'a> Layout<'a> {
    fn new(files: &'a [File<'a>], options: &Options, blobs: &'a dyn Blobs, start: u64) -> Self {
        Self {
            files,
            block_len: u64::from(options.block_size),
            duplicates: Duplicates::new(files, options.block_size, blobs),
            data: Data {
                placed: Vec::with_capacity(files.len()),
                same: Vec::with_capacity(files.len()),
                fragments: Vec::new(),
                end: start,
            },
            blocks: VecDeque::new(),
            open: Vec::new(),
            open_len: 0,
            closed: 0,
        }
    }

    /// The next job, if there is one.
    fn next(&mut self) -> Result<Option<(Owner, Vec<Piece>)>, Error> {
        loop {
            if let Some(blocks) = self.blocks.front_mut() {
                let Some(block) = blocks.next() else {
                    self.blocks.pop_front();
                    continue;
                };
                let file = self.data.placed.len() - 1;
                let start = block * self.block_len;
                let end = (start + self.block_len).min(self.files[file].content.len());
                let block = usize::try_from(block).expect("the blocks were counted");
                let owner = Owner::File { file, block, len: end - start };
                return Ok(Some((owner, vec![Piece { file, range: start..end }])));
            }
            let file = self.data.placed.len();
            if file == self.files.len() {
                return Ok((!self.open.is_empty()).then(|| self.close()));
            }
            if let Some(fragment) = self.enter(file)? {
                return Ok(Some(fragment));
            }
        }
    }

    /// Plans `file`; gives the open fragment away if the tail does not fit in it.
    fn enter(&mut self, file: usize) -> Result<Option<(Owner, Vec<Piece>)>, Error> {
        let earlier = self.duplicates.earlier(file)?;
        self.data.same.push(earlier.unwrap_or(file));
        self.data.placed.push(Placed::default());
        if earlier.is_some() {
            return Ok(None);
        }
        let content = self.files[file].content;
        let len = content.len();
        let full = len / self.block_len;
        let mut tail = full * self.block_len..len;

        let mut next = 0;
        let placed = self.data.placed.last_mut().expect("pushed above");
        for hole in zero_blocks(content, self.block_len) {
            placed.holes += (hole.end * self.block_len).min(len) - hole.start * self.block_len;
            if hole.end > full {
                tail = len..len;
            }
            self.blocks.push_back(next..hole.start);
            next = hole.end;
        }
        self.blocks.push_back(next..full.max(next));
        let listed = if tail.is_empty() { len.div_ceil(self.block_len) } else { full };
        placed.blocks = vec![0; usize::try_from(listed).expect("the blocks were counted")];
        if tail.is_empty() {
            return Ok(None);
        }

        let tail_len = tail.end - tail.start;
        let fragment = (self.open_len + tail_len > self.block_len).then(|| self.close());
        let offset = u32::try_from(self.open_len).expect("a fragment is no longer than a block");
        self.data.placed[file].fragment = Some((self.closed, offset));
        self.open.push(Piece { file, range: tail });
        self.open_len += tail_len;
        Ok(fragment)
    }

    fn close(&mut self) -> (Owner, Vec<Piece>) {
        self.closed += 1;
        self.open_len = 0;
        (Owner::Fragment, std::mem::take(&mut self.open))
    }

    /// Records where `done` is stored: at the end.
    fn place(&mut self, done: &Done) {
        let stored = match done.form {
            Some(form) => {
                let len = u32::try_from(done.stored.len()).expect("a block is at most 1 MiB");
                if form == Form::Raw { len | RAW } else { len }
            }
            None => 0,
        };
        match done.owner {
            Owner::Fragment => self.data.fragments.push((self.data.end, stored)),
            Owner::File { file, block, len } => {
                let placed = &mut self.data.placed[file];
                if done.form.is_none() {
                    placed.holes += len;
                } else if placed.start == 0 {
                    placed.start = self.data.end;
                }
                placed.blocks[block] = stored;
            }
        }
        if done.form.is_some() {
            self.data.end += done.stored.len() as u64;
        }
    }
}
