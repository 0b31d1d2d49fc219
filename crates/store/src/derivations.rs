//! Derivations: real work, remembered.
//!
//! A derivation is named by what decides its output: a name, the revision of the code, and the digests of
//! its inputs. A record is two lines of JSON: which derivation it is of, with the digest of the second line,
//! and the output. What does not check is done again; so is a record whose blobs are gone.
//!
//! ```text
//! derivations/<name>/<sha256 of name, revision, inputs>
//! │ {"derivation":"squashfs","revision":1,"inputs":["sha256:…"],"blobs":["sha256:…"],"output":"sha256:…"}
//! │ {"blob":"sha256:…","len":4096}
//! ```

use std::fs;
use std::io;
use std::path::PathBuf;

use extent::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::write_whole;
use crate::temp::Lock;
use crate::{Error, Store};

/// Names are directories and read well in logs.
const NAME_LEN_MAX: usize = 64;

/// The first line of a record.
#[derive(PartialEq, Serialize, Deserialize)]
struct Record {
    derivation: String,
    revision: u32,
    inputs: Vec<Digest>,
    /// The digests in the output that named blobs when it was recorded.
    blobs: Vec<Digest>,
    /// The digest of the second line, without its end.
    output: Digest,
}

impl Store {
    /// The output of `work` on `inputs`, from the record if there is one.
    ///
    /// `name`, `revision` and `inputs` must decide the output, with all parameters among the inputs. `work` runs in
    /// one thread of one process at a time for one derivation; others wait and take its output. When it
    /// fails, panics or is killed, the next to come tries. An output that names blobs (as [`Digest`]s, anywhere in
    /// it) counts only while they are all there.
    ///
    /// Blocks; call it from a thread that may. `work` may derive other things, not the same.
    ///
    /// # Errors
    /// Those of `work`; `BadName`, `BadOutput`, `NoSpace`; `NotDerived` in a [recorded](Self::recorded) store.
    pub fn derive<T, E>(
        &self,
        name: &str,
        revision: u32,
        inputs: &[Digest],
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        let derivation = Derivation::new(self, name, revision, inputs)?;
        if let Some(output) = derivation.recorded()? {
            return Ok(output);
        }
        if !self.is_deriving {
            return Err(Error::NotDerived { name: name.to_owned() }.into());
        }
        let lock = self.tmp().join(format!("derivation-{}.lock", derivation.key.hex()));
        let _lock = Lock::acquire(lock).map_err(Error::writing("locking a derivation", 0))?;
        if let Some(output) = derivation.recorded()? {
            return Ok(output);
        }
        // Seldom, and long: what is logged meanwhile is of it.
        let span = tracing::info_span!("derive", derivation = name, revision, key = %derivation.key);
        span.in_scope(|| {
            tracing::debug!("deriving");
            let output = work()?;
            derivation.record(&output)?;
            tracing::debug!("derived");
            Ok(output)
        })
    }
}

struct Derivation<'a> {
    store: &'a Store,
    name: &'a str,
    revision: u32,
    inputs: &'a [Digest],
    key: Digest,
    path: PathBuf,
}

impl<'a> Derivation<'a> {
    fn new(store: &'a Store, name: &'a str, revision: u32, inputs: &'a [Digest]) -> Result<Self, Error> {
        let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(is_word) {
            return Err(Error::bad_name("derivation", name));
        }
        // A name has no NUL and a digest has a fixed length: no two derivations have one text.
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        text.extend(revision.to_le_bytes());
        for digest in inputs {
            text.extend(digest.as_bytes());
        }
        let key = Digest::of(&text);
        let path = store.dir().join("derivations").join(name).join(key.hex());
        Ok(Self { store, name, revision, inputs, key, path })
    }

    /// The recorded output, if it is whole and its blobs are there.
    fn recorded<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("reading a derivation")(error)),
        };
        let Some((record, output)) = self.parse(&text) else {
            tracing::warn!(derivation = self.name, key = %self.key, "record does not check, deriving again");
            return Ok(None);
        };
        for digest in &record.blobs {
            if self.store.stat(digest)?.is_none() {
                tracing::warn!(derivation = self.name, key = %self.key, %digest, "blob is gone, deriving again");
                return Ok(None);
            }
        }
        Ok(Some(output))
    }

    fn parse<T: DeserializeOwned>(&self, text: &[u8]) -> Option<(Record, T)> {
        let mut lines = text.split(|&b| b == b'\n');
        let record: Record = serde_json::from_slice(lines.next()?).ok()?;
        let output = lines.next()?;
        let ours = (record.derivation.as_str(), record.revision, record.inputs.as_slice());
        if ours != (self.name, self.revision, self.inputs) || record.output != Digest::of(output) {
            return None;
        }
        Some((record, serde_json::from_slice(output).ok()?))
    }

    fn record<T: Serialize>(&self, output: &T) -> Result<(), Error> {
        let bad = |source| Error::BadOutput { name: self.name.to_owned(), source };
        let value = serde_json::to_value(output).map_err(bad)?;
        let mut blobs = Vec::new();
        for digest in digests(&value) {
            if self.store.stat(&digest)?.is_some() {
                blobs.push(digest);
            }
        }
        let output = serde_json::to_vec(output).map_err(bad)?;
        let record = Record {
            derivation: self.name.to_owned(),
            revision: self.revision,
            inputs: self.inputs.to_vec(),
            blobs,
            output: Digest::of(&output),
        };
        let mut text = serde_json::to_vec(&record).map_err(bad)?;
        text.push(b'\n');
        text.extend(output);
        text.push(b'\n');
        let dir = self.path.parent().expect("a record is in the directory of its name");
        fs::create_dir_all(dir).map_err(Error::writing("recording a derivation", 0))?;
        write_whole(&self.store.tmp(), &self.path, &text)
    }
}

/// The strings in `value` that are digests, each once.
fn digests(value: &Value) -> Vec<Digest> {
    fn collect(value: &Value, found: &mut Vec<Digest>) {
        match value {
            Value::String(text) => found.extend(text.parse::<Digest>()),
            Value::Array(values) => {
                for value in values {
                    collect(value, found);
                }
            }
            Value::Object(members) => {
                for (key, value) in members {
                    found.extend(key.parse::<Digest>());
                    collect(value, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(value, &mut found);
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Output {
        blobs: Vec<Digest>,
        diff: Digest,
        ratio: f64,
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    /// Derives from `inputs` and says how often work ran.
    struct Counted<'a> {
        store: &'a Store,
        runs: AtomicU32,
    }

    impl Counted<'_> {
        fn derive(&self, name: &str, revision: u32, inputs: &[Digest]) -> Output {
            let work = || {
                self.runs.fetch_add(1, Ordering::SeqCst);
                let blob = self.store.put_bytes(name.as_bytes())?.digest;
                Ok::<_, Error>(Output {
                    blobs: vec![blob],
                    diff: Digest::of(b"names no blob"),
                    ratio: 0.1 + 0.2,
                })
            };
            self.store.derive(name, revision, inputs, work).unwrap()
        }

        fn runs(&self) -> u32 {
            self.runs.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn work_runs_once_for_one_name_revision_and_inputs() {
        let (dir, store) = store();
        let counted = Counted { store: &store, runs: AtomicU32::new(0) };
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let first = counted.derive("squashfs", 1, &[a, b]);
        assert_eq!(counted.derive("squashfs", 1, &[a, b]), first);
        assert_eq!(counted.runs(), 1);
        let reopened = Store::open(dir.path()).unwrap();
        assert_eq!(
            Counted { store: &reopened, runs: AtomicU32::new(0) }.derive("squashfs", 1, &[a, b]),
            first
        );

        counted.derive("squashfs", 2, &[a, b]);
        counted.derive("squashfs", 1, &[b, a]);
        counted.derive("squashfs", 1, &[a]);
        counted.derive("squashfs-x", 1, &[a, b]);
        assert_eq!(counted.runs(), 5);
    }

    #[test]
    fn in_a_recorded_store_nothing_is_derived() {
        let (_dir, store) = store();
        let recorded = store.recorded();
        let derive = || recorded.derive::<Output, Error>("squashfs", 1, &[], || panic!("it derives"));
        assert!(matches!(derive(), Err(Error::NotDerived { name }) if name == "squashfs"));
        let derived = Counted { store: &store, runs: AtomicU32::new(0) }.derive("squashfs", 1, &[]);
        assert_eq!(derive().unwrap(), derived);
        fs::remove_file(store.blob_path(&derived.blobs[0])).unwrap();
        assert!(matches!(derive(), Err(Error::NotDerived { .. })));
    }

    #[test]
    fn a_record_is_worth_nothing_without_its_blobs() {
        let (_dir, store) = store();
        let counted = Counted { store: &store, runs: AtomicU32::new(0) };
        let blob = counted.derive("x", 1, &[]).blobs[0];
        fs::remove_file(store.blob_path(&blob)).unwrap();
        counted.derive("x", 1, &[]);
        counted.derive("x", 1, &[]);
        assert_eq!(counted.runs(), 2);
        assert_eq!(store.stat(&blob).unwrap(), Some(1));
    }

    #[test]
    fn a_damaged_or_foreign_record_is_made_again() {
        let (_dir, store) = store();
        let counted = Counted { store: &store, runs: AtomicU32::new(0) };
        let whole = counted.derive("x", 1, &[]);
        let path = Derivation::new(&store, "x", 1, &[]).unwrap().path;
        let text = fs::read(&path).unwrap();
        let mut runs = 1;
        let mut flipped = text.clone();
        *flipped.iter_mut().rfind(|b| **b == b'3').unwrap() = b'4';
        for damaged in [
            b"".to_vec(),
            vec![0; text.len()],
            text[..text.len() / 2].to_vec(),
            text[..text.len() - 2].to_vec(),
            flipped,
        ] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(counted.derive("x", 1, &[]), whole);
            runs += 1;
            assert_eq!(counted.runs(), runs);
            assert_eq!(fs::read(&path).unwrap(), text);
        }
        // A record of the same name whose output has another type: code changed without its revision.
        let other: Vec<u32> = store.derive("x", 1, &[], || Ok::<_, Error>(vec![1])).unwrap();
        assert_eq!(other, [1]);
    }

    #[test]
    fn many_threads_make_one_run() {
        let (dir, store) = store();
        let counted = Counted { store: &store, runs: AtomicU32::new(0) };
        std::thread::scope(|scope| {
            for i in 0..32 {
                let counted = &counted;
                let dir = dir.path();
                scope.spawn(move || {
                    // Half of them come as another process would: by a store of their own.
                    let own = Store::open(dir).unwrap();
                    let store = if i % 2 == 0 { counted.store } else { &own };
                    let work = || {
                        counted.runs.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(50));
                        Ok::<_, Error>(7)
                    };
                    assert_eq!(store.derive("slow", 1, &[], work).unwrap(), 7);
                });
            }
        });
        assert_eq!(counted.runs(), 1);
    }

    #[test]
    fn after_a_failure_or_a_panic_the_next_tries() {
        let (_dir, store) = store();
        let failed: Result<u32, Error> = store.derive("x", 1, &[], || Err(Error::NotAStore));
        assert!(matches!(failed, Err(Error::NotAStore)));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            store.derive("x", 1, &[], || -> Result<u32, Error> { panic!("the work panics") })
        }));
        assert!(panicked.is_err());
        assert_eq!(store.derive("x", 1, &[], || Ok::<_, Error>(3)).unwrap(), 3);
        assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);
    }

    #[test]
    fn derivations_nest() {
        let (_dir, store) = store();
        let inner = || store.derive("inner", 1, &[], || Ok::<_, Error>(2));
        assert_eq!(store.derive("outer", 1, &[], || Ok::<_, Error>(inner()? + 1)).unwrap(), 3);
    }

    #[test]
    fn hostile_names_are_refused() {
        let (_dir, store) = store();
        for name in ["", ".", "..", "a/b", "A", "a b", &"a".repeat(65)] {
            let refused: Result<u32, Error> = store.derive(name, 1, &[], || Ok(1));
            assert!(matches!(refused, Err(Error::BadName { kind: "derivation", .. })), "{name}");
        }
    }
}
