//! Image layouts in one file: what is not signed does not come in, and what comes in is whole.
#![no_main]
use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use cosign::{Policy, PublicKey};
use libfuzzer_sys::fuzz_target;
use remote::{Layout, Pull};
use store::Store;
use tokio::runtime::{Builder, Runtime};

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let key = include_str!("../../crates/cosign/tests/keys/public.pem");
    Policy::Key(PublicKey::from_pem(key).expect("a key"))
});
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("threads can be started"));
/// Images of one input that are taken in: each makes files durable.
const IMAGES: usize = 4;

fuzz_target!(|bytes: &[u8]| {
    // In memory, where there is such a directory.
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    let dir = dir.expect("a directory for files");
    let mut file = tempfile::tempfile_in(dir.path()).expect("a file");
    file.write_all(bytes).expect("a short file");
    let Ok(layout) = Layout::archive(file) else { return };
    let store = Store::open(dir.path().join("store")).expect("a store");
    for (repository, tag) in layout.images().take(IMAGES) {
        let pull = || Pull::from_layout(&store, &layout, repository, tag);
        assert!(RUNTIME.block_on(pull().verified_by(&POLICY).run()).is_err());
        assert!(store.tags(repository).expect("an index").iter().all(|one| one != tag));
        let _ = RUNTIME.block_on(pull().with_signatures().run());
    }
    assert!(store.scrub(&|_| ()).expect("a store").is_clean());
});
