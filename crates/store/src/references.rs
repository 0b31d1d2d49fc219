//! References: (repository, tag) → descriptor.
//!
//! They live in the layout's own `index.json`, where `org.opencontainers.image.ref.name` is
//! `<repository>:<tag>`: any tool that reads OCI layouts sees them. One file, so that a reader parses it once
//! and a writer replaces it whole; writers take turns under a lock. Entries of other tools are kept as they are.
//!
//! Source: OCI image specification 1.1, image layout, `index.json`; OCI distribution specification 1.1,
//! pulling manifests (the grammar of names and tags).

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use extent::Digest;
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex};

use crate::files::Stamp;
use crate::store::write_whole;
use crate::temp::Lock;
use crate::{Error, Store};

/// The index of a new store.
pub(crate) const EMPTY_INDEX: &str =
    "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}\n";
/// Registries commonly refuse `host/repository` above 255 characters.
const REPOSITORY_LEN_MAX: usize = 255;
/// From the grammar of tags.
const TAG_LEN_MAX: usize = 128;

/// Tags of a repository, in order.
type Tags = BTreeMap<String, Descriptor>;

/// `index.json`, parsed when it has changed.
pub(crate) struct Index {
    path: PathBuf,
    last: Mutex<Option<Parsed>>,
}

#[derive(Clone)]
struct Parsed {
    stamp: Stamp,
    /// Kept open, so that no later file gets its inode number and passes for it.
    _file: Arc<File>,
    repositories: Arc<BTreeMap<String, Tags>>,
}

impl Store {
    /// Makes `tag` of `repository` name the blob of `descriptor`. An earlier meaning of the tag is replaced.
    ///
    /// # Errors
    /// `BadName`; `BadDescriptor`; `NotFound` and `LenMismatch` when the blob is not there as described: a tag
    /// never dangles from the start. `BadIndex`, `NoSpace`: then all tags are as they were.
    pub fn tag(&self, repository: &str, tag: &str, descriptor: &Descriptor) -> Result<(), Error> {
        let name = name(repository, tag)?;
        let digest = digest_of(descriptor)?;
        match self.stat(&digest)? {
            None => return Err(Error::NotFound { digest }),
            Some(len) if len != descriptor.size() => {
                return Err(Error::LenMismatch { digest, stated: descriptor.size(), len });
            }
            Some(_) => {}
        }
        let mut entry = descriptor.clone();
        let mut annotations = entry.annotations().clone().unwrap_or_default();
        annotations.insert(ANNOTATION_REF_NAME.to_owned(), name.clone());
        entry.set_annotations(Some(annotations));

        let _lock =
            Lock::acquire(self.tmp().join("index.lock")).map_err(Error::writing("locking the index", 0))?;
        let text = fs::read(&self.index().path).map_err(Error::io("reading the index"))?;
        let mut index: ImageIndex =
            serde_json::from_slice(&text).map_err(|source| Error::BadIndex { source })?;
        let mut manifests = index.manifests().clone();
        manifests.retain(|entry| ref_name(entry) != Some(&name));
        manifests.push(entry);
        // The same tags make the same index, whoever came first.
        manifests.sort_by(|a, b| ref_name(a).cmp(&ref_name(b)));
        index.set_manifests(manifests);
        // By way of a value, whose maps are sorted: annotations are a hash map.
        let text = serde_json::to_value(&index).and_then(|value| serde_json::to_vec_pretty(&value));
        write_whole(&self.tmp(), &self.index().path, &text.map_err(|source| Error::BadIndex { source })?)
    }

    /// What `tag` of `repository` names.
    pub fn resolve_tag(&self, repository: &str, tag: &str) -> Result<Option<Descriptor>, Error> {
        name(repository, tag)?;
        Ok(self.index().read()?.get(repository).and_then(|tags| tags.get(tag)).cloned())
    }

    /// The tags of `repository`, sorted; none for a repository that is not there.
    pub fn tags(&self, repository: &str) -> Result<Vec<String>, Error> {
        let repositories = self.index().read()?;
        Ok(repositories.get(repository).map(|tags| tags.keys().cloned().collect()).unwrap_or_default())
    }

    /// The repositories that have a tag, sorted.
    pub fn repositories(&self) -> Result<Vec<String>, Error> {
        Ok(self.index().read()?.keys().cloned().collect())
    }
}

impl Index {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::new(None) }
    }

    fn read(&self) -> Result<Arc<BTreeMap<String, Tags>>, Error> {
        let failed = Error::io("reading the index");
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let named = Stamp::of(&fs::metadata(&self.path).map_err(&failed)?);
        if let Some(parsed) = last.as_ref().filter(|parsed| parsed.stamp == named) {
            return Ok(Arc::clone(&parsed.repositories));
        }
        let mut file = File::open(&self.path).map_err(&failed)?;
        let stamp = Stamp::of(&file.metadata().map_err(&failed)?);
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(&failed)?;
        let index: ImageIndex = serde_json::from_slice(&text).map_err(|source| Error::BadIndex { source })?;
        let repositories = Arc::new(repositories(&index));
        *last = Some(Parsed { stamp, _file: Arc::new(file), repositories: Arc::clone(&repositories) });
        Ok(repositories)
    }
}

fn repositories(index: &ImageIndex) -> BTreeMap<String, Tags> {
    let mut repositories: BTreeMap<String, Tags> = BTreeMap::new();
    for entry in index.manifests() {
        let Some((repository, tag)) = ref_name(entry).and_then(|name| name.rsplit_once(':')) else {
            continue;
        };
        if name(repository, tag).is_err() {
            continue;
        }
        // Callers get what they gave.
        let mut descriptor = entry.clone();
        let mut annotations = entry.annotations().clone().unwrap_or_default();
        annotations.remove(ANNOTATION_REF_NAME);
        descriptor
            .set_annotations(Some(annotations).filter(|annotations: &HashMap<_, _>| !annotations.is_empty()));
        repositories.entry(repository.to_owned()).or_default().insert(tag.to_owned(), descriptor);
    }
    repositories
}

fn ref_name(entry: &Descriptor) -> Option<&String> {
    entry.annotations().as_ref()?.get(ANNOTATION_REF_NAME)
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, Error> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|_| Error::BadDescriptor { digest: text.chars().take(80).collect() })
}

fn name(repository: &str, tag: &str) -> Result<String, Error> {
    if !is_repository(repository) {
        return Err(Error::bad_name("repository", repository));
    }
    if !is_tag(tag) {
        return Err(Error::bad_name("tag", tag));
    }
    Ok(format!("{repository}:{tag}"))
}

/// Whether `text` is the name of a repository, without a registry:
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`, at most 255 characters.
///
/// Source: OCI distribution specification 1.1, pulling manifests.
pub fn is_repository(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_component = |component: &str| {
        component.starts_with(is_word)
            && component.ends_with(is_word)
            && component
                .split(is_word)
                .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-'))
    };
    text.len() <= REPOSITORY_LEN_MAX && text.split('/').all(is_component)
}

/// Whether `text` is a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
///
/// Source: OCI distribution specification 1.1, pulling manifests.
pub fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= TAG_LEN_MAX
        && text.starts_with(is_word)
        && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

#[cfg(test)]
mod tests {
    use oci_spec::image::MediaType;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    fn manifest(store: &Store, content: &str) -> Descriptor {
        store.put_bytes(content.as_bytes()).unwrap().oci(MediaType::ImageManifest)
    }

    #[test]
    fn a_tag_resolves_to_what_it_was_given_last() {
        let (_dir, store) = store();
        assert_eq!(store.resolve_tag("siderolabs/imager", "v13.1.0").unwrap(), None);
        let (first, mut second) = (manifest(&store, "{}"), manifest(&store, "{ }"));
        second.set_annotations(Some(HashMap::from([("a".into(), "b".into()), ("c".into(), "d".into())])));
        store.tag("siderolabs/imager", "v13.1.0", &first).unwrap();
        assert_eq!(store.resolve_tag("siderolabs/imager", "v13.1.0").unwrap().as_ref(), Some(&first));
        store.tag("siderolabs/imager", "v13.1.0", &second).unwrap();
        store.tag("siderolabs/imager", "v12.0.0", &first).unwrap();
        store.tag("siderolabs/drbd", "9_x", &first).unwrap();
        assert_eq!(store.resolve_tag("siderolabs/imager", "v13.1.0").unwrap(), Some(second));
        assert_eq!(store.tags("siderolabs/imager").unwrap(), ["v12.0.0", "v13.1.0"]);
        assert_eq!(store.tags("siderolabs").unwrap(), [""; 0]);
        assert_eq!(store.repositories().unwrap(), ["siderolabs/drbd", "siderolabs/imager"]);
    }

    #[test]
    fn another_store_on_the_directory_sees_a_tag_at_once() {
        let (dir, store) = store();
        let other = Store::open(dir.path()).unwrap();
        for i in 0..50 {
            let descriptor = manifest(&store, &i.to_string());
            store.tag("a", "latest", &descriptor).unwrap();
            assert_eq!(other.resolve_tag("a", "latest").unwrap(), Some(descriptor));
        }
    }

    #[test]
    fn concurrent_writers_lose_nothing() {
        let (dir, store) = store();
        let descriptor = manifest(&store, "{}");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (dir, descriptor) = (dir.path(), &descriptor);
                scope.spawn(move || {
                    let store = Store::open(dir).unwrap();
                    for i in 0..10 {
                        store
                            .tag(&format!("r{}", thread % 3), &format!("t{thread}-{i}"), descriptor)
                            .unwrap();
                    }
                });
            }
        });
        let tags: usize = store.repositories().unwrap().iter().map(|r| store.tags(r).unwrap().len()).sum();
        assert_eq!(tags, 80);
    }

    #[test]
    fn entries_of_other_tools_are_kept_and_order_does_not_show() {
        let index = |tags: [&str; 2]| {
            let (dir, store) = store();
            let foreign = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
                "size":1,"digest":"sha256:cd0aa9856147b6c5b4ff2b7dfee5da20aa38253099ef1b4a64aced233c9afe29",
                "annotations":{"org.opencontainers.image.ref.name":"v1","other":"x"}}]}"#;
            fs::write(dir.path().join("index.json"), foreign).unwrap();
            let descriptor = manifest(&store, "{}");
            for tag in tags {
                store.tag("a/b", tag, &descriptor).unwrap();
            }
            assert_eq!(store.repositories().unwrap(), ["a/b"]);
            fs::read_to_string(dir.path().join("index.json")).unwrap()
        };
        let text = index(["x", "y"]);
        assert_eq!(text, index(["y", "x"]));
        assert!(text.contains("\"v1\"") && text.contains("\"a/b:x\""), "{text}");
    }

    #[test]
    fn what_a_tag_names_must_be_there() {
        let (_dir, store) = store();
        let absent =
            crate::Descriptor { digest: Digest::of(b"absent"), len: 6 }.oci(MediaType::ImageManifest);
        assert!(matches!(store.tag("a", "b", &absent), Err(Error::NotFound { .. })));
        let mut wrong = manifest(&store, "{}");
        wrong.set_size(3);
        assert!(matches!(store.tag("a", "b", &wrong), Err(Error::LenMismatch { stated: 3, len: 2, .. })));
        let sha512: oci_spec::image::Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        wrong.set_digest(sha512);
        assert!(matches!(store.tag("a", "b", &wrong), Err(Error::BadDescriptor { .. })));
    }

    #[test]
    fn a_damaged_index_is_an_error_and_is_not_overwritten() {
        let (dir, store) = store();
        let descriptor = manifest(&store, "{}");
        fs::write(dir.path().join("index.json"), "{").unwrap();
        assert!(matches!(store.tag("a", "b", &descriptor), Err(Error::BadIndex { .. })));
        assert!(matches!(store.resolve_tag("a", "b"), Err(Error::BadIndex { .. })));
        assert_eq!(fs::read_to_string(dir.path().join("index.json")).unwrap(), "{");
    }

    #[test]
    fn hostile_names_are_refused() {
        for repository in ["a", "a/b", "a-b/c.d/e__f", "a---b", "0"] {
            assert!(is_repository(repository), "{repository}");
        }
        let long = "a".repeat(256);
        for repository in [
            "", "/", "a/", "/a", "a//b", "..", "a/../b", "A", "a_-b", "a..b", "a___b", "-a", "a-", "a:b",
            "a b", "é", &long,
        ] {
            assert!(!is_repository(repository), "{repository}");
        }
        for tag in ["v1", "_", "V1.2-rc_3", "0"] {
            assert!(is_tag(tag), "{tag}");
        }
        let long = "a".repeat(129);
        for tag in ["", ".", "-a", "a/b", "a:b", "a b", "a\n", "é", &long] {
            assert!(!is_tag(tag), "{tag}");
        }
    }
}
