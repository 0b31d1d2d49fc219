//! Keys: P-256, in PEM, in a file that two processes may create at once.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use extent::Digest;
use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use p256::ecdsa::{DerSignature, VerifyingKey};
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::{DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};

/// The longest key file that is read. A P-256 key in PEM has 241 bytes; some files carry a certificate beside it.
pub const MAX_KEY_LEN: u64 = 64 << 10;

/// What a private key is labelled with in PEM: PKCS#8, SEC1.
const PRIVATE_LABELS: [&str; 2] = ["PRIVATE KEY", "EC PRIVATE KEY"];

/// Private keys that ask for a password: PKCS#8's, and those that `cosign generate-key-pair` makes.
const ENCRYPTED_LABELS: [&str; 3] =
    ["ENCRYPTED PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];

/// A private key that signs. It is overwritten when dropped, and its `Debug` shows the fingerprint alone.
#[derive(Clone)]
pub struct SigningKey(p256::ecdsa::SigningKey);

/// A public key that verifies.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// How [`SigningKey::open_or_create`] came to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// There was no file; this call made it.
    Created,
    /// The file was there, and only its owner may read it.
    Found,
    /// The file was there, and more than its owner may read it, as is usual for mounted Kubernetes secrets. Worth
    /// a warning.
    Exposed {
        /// The file's permission bits.
        mode: u32,
    },
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No block of the text is a private key.
    #[error("no `PRIVATE KEY` or `EC PRIVATE KEY` block in PEM")]
    NoPrivateKey,
    /// No block of the text is a public key.
    #[error("no `PUBLIC KEY` block in PEM")]
    NoPublicKey,
    /// The private key is encrypted; a server has nobody to ask for the password.
    #[error("the key is encrypted (`{label}`)")]
    Encrypted {
        /// The block's label.
        label: &'static str,
    },
    /// The block is damaged, or a key of another algorithm or curve.
    #[error("the `{label}` block is not an ECDSA key on P-256")]
    NotP256 {
        /// The block's label.
        label: &'static str,
    },
    /// The file is longer than any key.
    #[error("`{path}` is longer than {max} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// [`MAX_KEY_LEN`].
        max: u64,
    },
    /// The file is not text.
    #[error("`{path}` is not text")]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The file has no key.
    #[error("no key in `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<KeyError>,
    },
    /// The operating system has no randomness to give.
    #[error("the operating system gives no randomness")]
    Randomness,
    /// The file cannot be read or made. Making it needs a directory that can link files.
    #[error("{doing} `{path}`")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Opened {
    /// Whether this call made the file.
    pub const fn created(self) -> bool {
        matches!(self, Self::Created)
    }
}

impl SigningKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        p256::ecdsa::SigningKey::try_generate().map(Self).map_err(|_| KeyError::Randomness)
    }

    /// The first private key of `pem`, PKCS#8 or SEC1. Text around it and other blocks, as `openssl ecparam
    /// -genkey` writes them, are skipped.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let Some((label, block)) = first_block(pem, &PRIVATE_LABELS) else {
            return Err(match first_block(pem, &ENCRYPTED_LABELS) {
                Some((label, _)) => KeyError::Encrypted { label },
                None => KeyError::NoPrivateKey,
            });
        };
        let key = p256::SecretKey::from_pem(block).map_err(|_| KeyError::NotP256 { label })?;
        Ok(Self(key.into()))
    }

    /// The key in PEM, PKCS#8.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.0.to_pkcs8_pem(LineEnding::LF).expect("a P-256 key has an encoding")
    }

    /// The key in the file at `path`.
    pub fn open(path: &Path) -> Result<(Self, Opened), KeyError> {
        let io = |doing| move |source| KeyError::Io { doing, path: path.into(), source };
        let file = File::open(path).map_err(io("opening"))?;
        let mode = file.metadata().map_err(io("opening"))?.mode() & 0o777;
        let mut bytes = Zeroizing::new(Vec::new());
        let len = file.take(MAX_KEY_LEN + 1).read_to_end(&mut bytes).map_err(io("reading"))?;
        if u64::try_from(len).is_ok_and(|len| len > MAX_KEY_LEN) {
            return Err(KeyError::TooLong { path: path.into(), max: MAX_KEY_LEN });
        }
        let pem = str::from_utf8(&bytes).map_err(|_| KeyError::NotText { path: path.into() })?;
        let key =
            Self::from_pem(pem).map_err(|e| KeyError::File { path: path.into(), source: Box::new(e) })?;
        Ok((key, if mode.is_multiple_of(0o100) { Opened::Found } else { Opened::Exposed { mode } }))
    }

    /// The key in the file at `path`; where there is none, a new one, which the file then holds.
    ///
    /// The file appears complete, with mode 0600, and is never replaced: of several processes that find no file,
    /// one makes it and all return its key.
    pub fn open_or_create(path: &Path) -> Result<(Self, Opened), KeyError> {
        match Self::open(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let key = Self::generate()?;
        if key.write_new(path).map_err(|source| KeyError::Io {
            doing: "creating",
            path: path.into(),
            source,
        })? {
            Ok((key, Opened::Created))
        } else {
            Self::open(path)
        }
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }

    /// The public half in PEM, as `cosign --key` reads it.
    pub fn public_key_pem(&self) -> String {
        self.public_key().to_pem()
    }

    /// The SHA-256 of the public half, see [`PublicKey::fingerprint`].
    pub fn fingerprint(&self) -> Digest {
        self.public_key().fingerprint()
    }

    /// The fingerprint in base64, see [`PublicKey::hint`].
    pub fn hint(&self) -> String {
        self.public_key().hint()
    }

    /// The ECDSA signature, in ASN.1 DER, of the bytes whose SHA-256 is `digest`.
    pub(crate) fn sign(&self, digest: &Digest) -> Vec<u8> {
        let signature: DerSignature =
            self.0.sign_prehash(digest.as_bytes()).expect("32 bytes are enough of a hash for P-256");
        signature.as_bytes().to_vec()
    }

    /// Writes the key to a file of its own and links that to `path`; false when `path` is there already.
    fn write_new(&self, path: &Path) -> io::Result<bool> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        // Each new key has its own name for the file, and that name tells nothing of the secret.
        let mut own = std::ffi::OsString::from(".");
        own.push(name);
        own.push(format!(".{}", &self.fingerprint().hex()[..16]));
        let own = dir.join(own);
        let linked = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&own)?;
            file.write_all(self.to_pem().as_bytes())?;
            file.sync_all()?;
            // Unlike a rename, a link does not replace what is there.
            match fs::hard_link(&own, path) {
                Ok(()) => Ok(true),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(e) => Err(e),
            }
        })();
        let removed = fs::remove_file(&own);
        let linked = linked?;
        removed?;
        File::open(dir)?.sync_all()?;
        Ok(linked)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.fingerprint())
    }
}

impl PublicKey {
    /// The first public key of `pem`.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let (label, block) = first_block(pem, &["PUBLIC KEY"]).ok_or(KeyError::NoPublicKey)?;
        VerifyingKey::from_public_key_pem(block).map(Self).map_err(|_| KeyError::NotP256 { label })
    }

    /// The key in PEM.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("a P-256 key has an encoding")
    }

    /// The SHA-256 of the key's SubjectPublicKeyInfo in DER, which is the same for everybody who has the key.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self.0.to_public_key_der().expect("a P-256 key has an encoding").as_bytes())
    }

    /// The fingerprint in base64, by which bundles say whose they are. It proves nothing.
    pub fn hint(&self) -> String {
        STANDARD.encode(self.fingerprint().as_bytes())
    }

    /// Whether `signature`, in ASN.1 DER, is this key's of the bytes whose SHA-256 is `digest`.
    pub(crate) fn verifies(&self, digest: &Digest, signature: &[u8]) -> bool {
        DerSignature::try_from(signature)
            .is_ok_and(|signature| self.0.verify_prehash(digest.as_bytes(), &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// The first PEM block of `text` that has one of `labels`, from its first dash to its last.
fn first_block<'a>(text: &'a str, labels: &[&'static str]) -> Option<(&'static str, &'a str)> {
    let block = |label: &'static str| {
        let start = text.find(&format!("-----BEGIN {label}-----"))?;
        let end = format!("-----END {label}-----");
        let len = text[start..].find(&end)? + end.len();
        Some((start, label, &text[start..start + len]))
    };
    let (_, label, block) =
        labels.iter().filter_map(|label| block(label)).min_by_key(|(start, ..)| *start)?;
    Some((label, block))
}
