//! A little Sigstore: its own certificate authority, logs and timestamp authority, all on paper.
//!
//! What it writes is what the public instance would; stock cosign is the judge of that (`keyless_cosign.rs`).

#![allow(clippy::unwrap_used, reason = "only tests are built on this")]
#![allow(dead_code, reason = "not every test uses everything")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cosign::{SignatureImage, SigningKey};
use extent::Digest;
use p256::ecdsa::DerSignature;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::DecodePrivateKey as _;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

use super::der::{content, integer, octets, oid, sequence, set, value, values};

/// When certificates begin, in seconds since 1970: 1 June 2024. They are valid for ten minutes.
pub const DAY: u64 = 1_717_200_000;
pub const VALID: u64 = 600;
/// When everything is signed.
pub const NOW: u64 = DAY + 60;

const SHA256: [u64; 9] = [2, 16, 840, 1, 101, 3, 4, 2, 1];
const ECDSA_WITH_SHA256: [u64; 7] = [1, 2, 840, 10045, 4, 3, 2];
const PKCS9: [u64; 6] = [1, 2, 840, 113_549, 1, 9];
const TST_INFO: [u64; 9] = [1, 2, 840, 113_549, 1, 9, 16, 1, 4];
const SIGNED_DATA: [u64; 7] = [1, 2, 840, 113_549, 1, 7, 2];

pub struct Sigstore {
    root: Vec<u8>,
    /// The authority between root and certificates.
    fulcio: Vec<u8>,
    fulcio_issuer: Issuer<'static, KeyPair>,
    fulcio_key: Vec<u8>,
    ct: Key,
    pub rekor: Key,
    tsa_root: Vec<u8>,
    /// The certificate of the timestamp authority.
    pub tsa: Vec<u8>,
    tsa_key: Key,
}

pub struct Key {
    pair: KeyPair,
    signing: p256::ecdsa::SigningKey,
}

/// Who signs.
#[derive(Clone)]
pub struct Identity {
    pub subject: String,
    /// In the extension 1.3.6.1.4.1.57264.1.1.
    pub issuer: Option<String>,
    /// In the extension 1.3.6.1.4.1.57264.1.8.
    pub issuer_v2: Option<String>,
}

/// Which log's entry a bundle has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Log {
    /// Rekor 1, of this kind: a promise and a proof.
    Dsse,
    Intoto,
    /// Rekor 2: a proof, and the time from a timestamp authority.
    Tiles,
}

/// A certificate and its key.
pub struct Certified {
    pub der: Vec<u8>,
    pub key: Key,
}

impl Key {
    fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let signing = p256::ecdsa::SigningKey::from_pkcs8_pem(&pair.serialize_pem()).unwrap();
        Self { pair, signing }
    }

    fn spki(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// By which logs are named.
    pub fn id(&self) -> Digest {
        Digest::of(&self.spki())
    }

    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.signing.sign(bytes);
        signature.as_bytes().to_vec()
    }
}

impl Identity {
    pub fn new(subject: &str, issuer: &str) -> Self {
        let issuer = Some(issuer.to_owned());
        Self { subject: subject.to_owned(), issuer: issuer.clone(), issuer_v2: issuer }
    }
}

impl Certified {
    pub fn pem(&self) -> String {
        pem(&self.der)
    }
}

impl Sigstore {
    pub fn new() -> Self {
        let (root_issuer, root) = authority("root", None);
        let (fulcio_issuer, fulcio) = authority("intermediate", Some(&root_issuer));
        let (tsa_issuer, tsa_root) = authority("timestamps", None);
        let tsa_key = Key::new();
        let mut tsa = params("timestamp");
        (tsa.not_before, tsa.not_after) = (date_time_ymd(2021, 1, 1), date_time_ymd(2040, 1, 1));
        tsa.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        tsa.serial_number = Some(SerialNumber::from(7));
        // Critical, as RFC 3161 wants it: rcgen's own is not.
        let usage = sequence(&[&oid(&[1, 3, 6, 1, 5, 5, 7, 3, 8])]);
        let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], usage);
        usage.set_criticality(true);
        tsa.custom_extensions = vec![usage];
        let tsa = tsa.signed_by(&tsa_key.pair, &tsa_issuer).unwrap().der().to_vec();
        let fulcio_key = fulcio_issuer.key().subject_public_key_info();
        let (ct, rekor) = (Key::new(), Key::new());
        Self { root, fulcio, fulcio_issuer, fulcio_key, ct, rekor, tsa_root, tsa, tsa_key }
    }

    /// `trusted_root.json`.
    pub fn trusted_root(&self) -> Value {
        let start = json!({ "start": "2021-01-01T00:00:00Z" });
        let key = |key: &Key, url: &str| {
            json!({
                "baseUrl": url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": STANDARD.encode(key.spki()),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": start,
                },
                "logId": { "keyId": STANDARD.encode(key.id().as_bytes()) },
            })
        };
        let authority = |chain: [&[u8]; 2], url: &str| {
            json!({
                "subject": { "organization": "example", "commonName": "example" },
                "uri": url,
                "certChain": { "certificates": chain.map(|der| json!({ "rawBytes": STANDARD.encode(der) })) },
                "validFor": start,
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [key(&self.rekor, "https://rekor.example")],
            "certificateAuthorities": [authority([&self.fulcio, &self.root], "https://fulcio.example")],
            "ctlogs": [key(&self.ct, "https://ctfe.example")],
            "timestampAuthorities": [authority([&self.tsa, &self.tsa_root], "https://tsa.example/api")],
        })
    }

    /// A certificate for `identity`, valid from [`DAY`] for [`VALID`] seconds.
    pub fn certify(&self, identity: &Identity) -> Certified {
        let key = Key::new();
        let mut params = params("");
        params.distinguished_name = DistinguishedName::new();
        params.not_before = date_time_ymd(2024, 6, 1);
        params.not_after = params.not_before + std::time::Duration::from_secs(VALID);
        params.serial_number = Some(SerialNumber::from(42));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.use_authority_key_identifier_extension = true;
        let name = identity.subject.as_str().try_into().unwrap();
        params.subject_alt_names = vec![if identity.subject.contains("://") {
            SanType::URI(name)
        } else {
            SanType::Rfc822Name(name)
        }];
        let fulcio = |arc| [1, 3, 6, 1, 4, 1, 57264, 1, arc];
        if let Some(issuer) = &identity.issuer {
            let text = issuer.clone().into_bytes();
            params.custom_extensions.push(CustomExtension::from_oid_content(&fulcio(1), text));
        }
        if let Some(issuer) = &identity.issuer_v2 {
            let text = value(0x0c, issuer.as_bytes());
            params.custom_extensions.push(CustomExtension::from_oid_content(&fulcio(8), text));
        }
        let without = params.signed_by(&key.pair, &self.fulcio_issuer).unwrap();
        let sct = octets(&self.timestamps(values(content(without.der()))[0]));
        let sct = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], sct);
        params.custom_extensions.push(sct);
        let der = params.signed_by(&key.pair, &self.fulcio_issuer).unwrap().der().to_vec();
        Certified { der, key }
    }

    /// The CT log's list of one timestamp for a certificate without it. RFC 6962, §3.2 and §3.3.
    fn timestamps(&self, tbs: &[u8]) -> Vec<u8> {
        let time = (DAY * 1000).to_be_bytes();
        let issuer = Digest::of(&self.fulcio_key);
        let len = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        let signed = [&[0, 0][..], &time, &[0, 1], issuer.as_bytes(), &len[1..], tbs, &[0, 0]].concat();
        let signature = prefixed(&self.ct.sign(&signed));
        let sct = [&[0][..], self.ct.id().as_bytes(), &time, &[0, 0, 4, 3], &signature].concat();
        prefixed(&prefixed(&sct))
    }

    /// A signature of the old shape, signed and logged at `time`.
    pub fn signature_image(
        &self,
        by: &Certified,
        docker_reference: &str,
        image: &Digest,
        time: u64,
    ) -> SignatureImage {
        let key = SigningKey::from_pem(&by.key.pair.serialize_pem()).unwrap();
        let mut signature = SignatureImage::new(&key, docker_reference, image);
        let mut manifest: Value = serde_json::from_slice(&signature.manifest).unwrap();
        let annotations = &mut manifest["layers"][0]["annotations"];
        let sig = annotations[cosign::SIGNATURE_ANNOTATION].as_str().unwrap().to_owned();
        let entry = Self::hashed_rekord(by, &signature.payload, &sig);
        annotations["dev.sigstore.cosign/certificate"] = json!(by.pem());
        annotations["dev.sigstore.cosign/chain"] = json!([pem(&self.fulcio), pem(&self.root)].concat());
        annotations["dev.sigstore.cosign/bundle"] = json!(self.promise(&entry, time).to_string());
        signature.manifest = manifest.to_string().into_bytes();
        signature
    }

    pub fn hashed_rekord(by: &Certified, payload: &[u8], signature: &str) -> Vec<u8> {
        json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": Digest::of(payload).hex() } },
                "signature": {
                    "content": signature,
                    "publicKey": { "content": STANDARD.encode(by.pem()) },
                },
            },
        })
        .to_string()
        .into_bytes()
    }

    /// The annotation `dev.sigstore.cosign/bundle` for `entry`.
    pub fn promise(&self, entry: &[u8], time: u64) -> Value {
        let payload = json!({
            "body": STANDARD.encode(entry),
            "integratedTime": time,
            "logIndex": 1,
            "logID": self.rekor.id().hex(),
        });
        // Members in the order of the alphabet, no space: that is RFC 8785 already.
        let set = STANDARD.encode(self.rekor.sign(payload.to_string().as_bytes()));
        json!({ "SignedEntryTimestamp": set, "Payload": payload })
    }

    /// A bundle that states `predicate_type` of `image`, signed and logged at `time`.
    pub fn bundle(&self, by: &Certified, image: &Digest, log: Log, time: u64) -> Value {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": image.hex() } }],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        })
        .to_string();
        let payload_type = "application/vnd.in-toto+json";
        let encoded = format!("DSSEv1 {} {payload_type} {} {statement}", payload_type.len(), statement.len());
        let signature = by.key.sign(encoded.as_bytes());
        let sig = STANDARD.encode(&signature);
        let payload_hash = json!({ "algorithm": "sha256", "value": Digest::of(statement.as_bytes()).hex() });
        let verifier = STANDARD.encode(by.pem());
        let envelope = json!({
            "payload": STANDARD.encode(&statement),
            "payloadType": payload_type,
            "signatures": [{ "sig": sig }],
        });
        let envelope_hash =
            json!({ "algorithm": "sha256", "value": Digest::of(envelope.to_string().as_bytes()).hex() });
        let (kind, version, spec) = match log {
            Log::Dsse => {
                let signatures = json!([{ "signature": sig, "verifier": verifier }]);
                let spec = json!({
                    "envelopeHash": envelope_hash, "payloadHash": payload_hash, "signatures": signatures,
                });
                ("dsse", "0.0.1", spec)
            }
            Log::Intoto => {
                let signatures = json!([{ "publicKey": verifier, "sig": STANDARD.encode(&sig) }]);
                let envelope = json!({ "payloadType": payload_type, "signatures": signatures });
                let content = json!({
                    "envelope": envelope, "hash": envelope_hash, "payloadHash": payload_hash,
                });
                ("intoto", "0.0.2", json!({ "content": content }))
            }
            Log::Tiles => {
                let digest = STANDARD.encode(Digest::of(encoded.as_bytes()).as_bytes());
                let verifier = json!({
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "x509Certificate": { "rawBytes": STANDARD.encode(&by.der) },
                });
                let record = json!({
                    "data": { "algorithm": "SHA2_256", "digest": digest },
                    "signature": { "content": sig, "verifier": verifier },
                });
                ("hashedrekord", "0.0.2", json!({ "hashedRekordV002": record }))
            }
        };
        let entry = json!({ "apiVersion": version, "kind": kind, "spec": spec }).to_string();
        let mut logged = json!({
            "logIndex": "1",
            "logId": { "keyId": STANDARD.encode(self.rekor.id().as_bytes()) },
            "kindVersion": { "kind": kind, "version": version },
            "inclusionProof": self.proof(entry.as_bytes(), log),
            "canonicalizedBody": STANDARD.encode(&entry),
        });
        let mut material = json!({
            "certificate": { "rawBytes": STANDARD.encode(&by.der) },
        });
        if log == Log::Tiles {
            let timestamp = STANDARD.encode(self.timestamp(&signature, time));
            material["timestampVerificationData"] =
                json!({ "rfc3161Timestamps": [{ "signedTimestamp": timestamp }] });
        } else {
            let promise = self.promise(entry.as_bytes(), time);
            logged["integratedTime"] = json!(time.to_string());
            logged["inclusionPromise"] = json!({ "signedEntryTimestamp": promise["SignedEntryTimestamp"] });
        }
        material["tlogEntries"] = json!([logged]);
        json!({
            "mediaType": cosign::BUNDLE_MEDIA_TYPE,
            "verificationMaterial": material,
            "dsseEnvelope": envelope,
        })
    }

    /// That `entry` is the second of three. RFC 6962, §2.1; signed note, C2SP.
    pub fn proof(&self, entry: &[u8], log: Log) -> Value {
        let leaf = |bytes: &[u8]| Digest::of(&[&[0], bytes].concat());
        let node = |a: &Digest, b: &Digest| Digest::of(&[&[1], &a.as_bytes()[..], b.as_bytes()].concat());
        let (first, third) = (leaf(b"the first"), leaf(b"the third"));
        let root = node(&node(&first, &leaf(entry)), &third);
        let root = STANDARD.encode(root.as_bytes());
        let origin = if log == Log::Tiles { "rekor.example" } else { "rekor.example - 1193050959916656506" };
        let note = format!("{origin}\n3\n{root}\n");
        let hint = &self.rekor.id().as_bytes()[..4].to_vec();
        let signature = STANDARD.encode([&hint[..], &self.rekor.sign(note.as_bytes())].concat());
        let hashes = [first, third].map(|hash| STANDARD.encode(hash.as_bytes()));
        json!({
            "logIndex": "1",
            "treeSize": "3",
            "rootHash": root,
            "hashes": hashes,
            "checkpoint": { "envelope": format!("{note}\n— rekor.example {signature}\n") },
        })
    }

    /// The authority's answer that `signature` was there at `time`, within the hour of [`DAY`]. RFC 3161, §2.4.2;
    /// RFC 5652, §5; RFC 5816.
    pub fn timestamp(&self, signature: &[u8], time: u64) -> Vec<u8> {
        let (minutes, seconds) = ((time - DAY) / 60, (time - DAY) % 60);
        let sha256 = sequence(&[&oid(&SHA256)]);
        let imprint = sequence(&[&sha256, &octets(Digest::of(signature).as_bytes())]);
        let gen_time = value(0x18, format!("2024060100{minutes:02}{seconds:02}Z").as_bytes());
        let policy = oid(&[1, 3, 6, 1, 4, 1, 57264, 2]);
        let info = sequence(&[&integer(1), &policy, &imprint, &integer(9), &gen_time]);

        let attribute =
            |arc: &[u64], content: &[u8]| sequence(&[&oid(&[&PKCS9[..], arc].concat()), &set(&[content])]);
        let certificate = sequence(&[&octets(Digest::of(&self.tsa).as_bytes())]);
        let attributes = [
            attribute(&[3], &oid(&TST_INFO)),
            attribute(&[4], &octets(Digest::of(&info).as_bytes())),
            attribute(&[16, 2, 47], &sequence(&[&sequence(&[&certificate])])),
        ];
        let attributes = set(&attributes.each_ref().map(Vec::as_slice));
        let signed = self.tsa_key.sign(&attributes);
        let fields = values(content(values(content(&self.tsa))[0]));
        let signer = sequence(&[
            &integer(1),
            &sequence(&[fields[3], fields[1]]),
            &sha256,
            &value(0xa0, content(&attributes)),
            &sequence(&[&oid(&ECDSA_WITH_SHA256)]),
            &octets(&signed),
        ]);
        let encapsulated = sequence(&[&oid(&TST_INFO), &value(0xa0, &octets(&info))]);
        let certificates = value(0xa0, &self.tsa);
        let signed_data =
            sequence(&[&integer(3), &set(&[&sha256]), &encapsulated, &certificates, &set(&[&signer])]);
        let token = sequence(&[&oid(&SIGNED_DATA), &value(0xa0, &signed_data)]);
        sequence(&[&sequence(&[&integer(0)]), &token])
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "example");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// An authority, of its own or under another.
fn authority(name: &str, under: Option<&Issuer<'static, KeyPair>>) -> (Issuer<'static, KeyPair>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let mut params = params(name);
    (params.not_before, params.not_after) = (date_time_ymd(2021, 1, 1), date_time_ymd(2040, 1, 1));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = match under {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    };
    let der = certificate.unwrap().der().to_vec();
    (Issuer::new(params, key), der)
}

/// `bytes` behind their length in two bytes.
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
