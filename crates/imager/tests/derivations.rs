//! What is derived: who waits for it holds nobody up.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use extent::Digest;
use schematics::Schematic;
use serde_json::Value;
use store::Store;
use support::{Made, SCHEMATIC, VERSION, complete};
use tokio::runtime;

/// A derivation: its name, its revision and its inputs.
type Named = (String, u32, Vec<Digest>);

/// The extensions that were derived in `store`.
fn extensions(store: &Path) -> Vec<Named> {
    let mut found = Vec::new();
    for kind in std::fs::read_dir(store.join("derivations")).unwrap() {
        let kind = kind.unwrap();
        if !kind.file_name().to_str().unwrap().starts_with("extension-") {
            continue;
        }
        for record in std::fs::read_dir(kind.path()).unwrap() {
            let text = std::fs::read_to_string(record.unwrap().path()).unwrap();
            let record: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
            let revision = record["revision"].as_u64().unwrap().try_into().unwrap();
            let inputs = record["inputs"].as_array().unwrap().iter();
            let inputs = inputs.map(|input| input.as_str().unwrap().parse().unwrap()).collect();
            found.push((record["derivation"].as_str().unwrap().to_owned(), revision, inputs));
        }
    }
    found
}

/// Derives `named`, and neither ends nor succeeds until it is released.
fn hold(store: &Store, (name, revision, inputs): Named) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
    let store = store.clone();
    let (begins, begun) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let holding = thread::spawn(move || {
        let result: Result<Value, store::Error> = store.derive(&name, revision, &inputs, || {
            begins.send(()).unwrap();
            let _ = held.recv();
            Err(store::Error::NotFound { digest: Digest::of(b"") })
        });
        result.unwrap_err();
    });
    begun.recv().unwrap();
    (release, holding)
}

#[test]
fn who_waits_for_an_extension_holds_no_thread() {
    let turns = 2 * thread::available_parallelism().map_or(1, NonZeroUsize::get);
    // One thread more than there are turns.
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().max_blocking_threads(turns + 1).build().unwrap();
    runtime.block_on(async {
        let path = "initramfs-amd64.xz";
        let first = complete();
        first.resolve(SCHEMATIC, path).await.unwrap();
        let named = extensions(&first.dir.path().join("store"));
        assert_eq!(named.len(), 3);

        let Made { store, factory, dir: _dir } = complete();
        let held: Vec<_> = named.into_iter().map(|named| hold(&store, named)).collect();
        let resolving: Vec<_> = (0..4 * turns)
            .map(|_| {
                let factory = factory.clone();
                tokio::spawn(async move {
                    let schematic = Schematic::parse(SCHEMATIC.as_bytes()).unwrap();
                    factory.resolve(&schematic, &VERSION.parse().unwrap(), &path.parse().unwrap()).await
                })
            })
            .collect();
        for n in 0..20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let other = format!("customization: {{extraKernelArgs: [n={n}]}}");
            let other = Schematic::parse(other.as_bytes()).unwrap();
            let keeping = tokio::time::timeout(Duration::from_mins(1), factory.put_schematic(&other));
            keeping.await.expect("there is a thread").unwrap();
        }
        assert!(resolving.iter().all(|resolving| !resolving.is_finished()));
        for (release, holding) in held {
            release.send(()).unwrap();
            holding.join().unwrap();
        }
        for resolving in resolving {
            resolving.await.unwrap().unwrap();
        }
    });
}
