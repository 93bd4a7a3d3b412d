//! An administrator's private key: `OpenSSH`'s own format without a passphrase, or PKCS #8 in PEM. Pure but for the signing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// Who signs.
pub(super) struct Signer(Ed25519KeyPair);

impl Signer {
    /// Reads a private key.
    ///
    /// # Errors
    /// What is wrong with it; nothing of it is repeated.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if let Some(bytes) = pem(text, "OPENSSH PRIVATE KEY") {
            return openssh(&bytes?);
        }
        if let Some(bytes) = pem(text, "PRIVATE KEY") {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&bytes?);
            return pair.map(Self).map_err(|_| "it is no Ed25519 key in PKCS #8".to_owned());
        }
        if text.contains("ENCRYPTED PRIVATE KEY") {
            return Err(ENCRYPTED.to_owned());
        }
        if text.trim_start().starts_with("ssh-") {
            return Err("it is a public key; the private one stands in the file without `.pub`".to_owned());
        }
        Err("it is neither a private key of OpenSSH's nor one in PEM".to_owned())
    }

    /// The public key's 32 bytes.
    pub(super) fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// The signature of a text, in base 64.
    pub(super) fn sign(&self, text: &str) -> String {
        STANDARD.encode(self.0.sign(text.as_bytes()))
    }
}

const ENCRYPTED: &str = "it has a passphrase; make a key of its own for this: \
                         ssh-keygen -t ed25519 -N '' -f feathergate_admin";
const CUT: &str = "it is damaged: it ends too early";

/// What stands between the lines of a PEM file; `None` where there is no such block.
fn pem(text: &str, label: &str) -> Option<Result<Vec<u8>, String>> {
    let rest = text.split_once(&format!("-----BEGIN {label}-----"))?.1;
    let inner = rest.split_once(&format!("-----END {label}-----")).map(|(inner, _)| inner);
    let decoded = inner.ok_or_else(|| CUT.to_owned()).and_then(|inner| {
        let inner: String = inner.split_ascii_whitespace().collect();
        STANDARD.decode(inner).map_err(|_| "it is damaged: it is no base 64".to_owned())
    });
    Some(decoded)
}

/// The fields of `OpenSSH`'s formats, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u32, String> {
        let (number, rest) = self.0.split_first_chunk::<4>().ok_or(CUT)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    fn text(&mut self) -> Result<&'a [u8], String> {
        let length = usize::try_from(self.number()?).map_err(|_| CUT)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok(text)
    }
}

/// The format `openssh-key-v1` (`PROTOCOL.key` of `OpenSSH`'s sources).
fn openssh(bytes: &[u8]) -> Result<Signer, String> {
    let rest = bytes.strip_prefix(b"openssh-key-v1\0").ok_or("it is of a format that is not known here")?;
    let mut fields = Fields(rest);
    let (cipher, _kdf, _options) = (fields.text()?, fields.text()?, fields.text()?);
    if cipher != b"none" {
        return Err(ENCRYPTED.to_owned());
    }
    if fields.number()? != 1 {
        return Err("it holds more than one key".to_owned());
    }
    let _public = fields.text()?;
    let mut fields = Fields(fields.text()?);
    if fields.number()? != fields.number()? {
        return Err("it is damaged: its check does not fit".to_owned());
    }
    let kind = fields.text()?;
    if kind != b"ssh-ed25519" {
        return Err("it is no Ed25519 key; `ssh-keygen -t ed25519` makes one".to_owned());
    }
    let (public, private) = (fields.text()?, fields.text()?);
    // The seed, and the public key again.
    let seed = private.get(..32).filter(|_| private.len() == 64).ok_or("it is damaged: its key has another length")?;
    let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public);
    pair.map(Signer).map_err(|_| "it is damaged: its halves do not fit".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `ssh-keygen -t ed25519 -N ''`, for this test only.
    const OPENSSH: &str = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUxOQAAACCtZ6mTtPUqMAsQe/v+\
        49kqIIYlnKIUseAYudVKiFY0sQAAAJiXoCPwl6Aj8AAAAAtzc2gtZWQyNTUxOQAAACCtZ6mTtPUqMAsQe/v+49kqIIYlnKIUseAY\
        udVKiFY0sQAAAED589Ioh7yAWsPchPF5apVDyhRoSkgxV3s8u5kCSFBoBK1nqZO09SowCxB7+/7j2SoghiWcohSx4Bi51UqIVjSx\
        AAAAEnNvbWVib2R5QHNvbWV3aGVyZQECAw==";
    /// The same with a passphrase.
    const LOCKED: &str = "b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABAfS3gN2E0TvNvMxcWRLNjPAAAAEAAAAAEAAAAz\
        AAAAC3NzaC1lZDI1NTE5AAAAIHgq04imhebOcVHeMHNTGkxhhFidkB9urQ4qmd/8UgnJAAAAkAIiqYAdBkGH4IyYTQti8d3rdiBt\
        CkSsnkWgbjiS+6CiT33OQjJ5sIzHBgEBX0FG1lSWjVQCNH7bxfChPW/+6ceFO/05SLfEeVTBKwr1gZbHtLEIpU3aK6UWXI4G6IVW\
        NtYELnM2ublKVr+tQlmZl5taxbgw2usDEpaDxAD/ix85HohTrbFVSc5CQLfu65r8BQ==";
    /// Made by `openssl genpkey -algorithm ed25519`.
    const PKCS8: &str = "MC4CAQAwBQYDK2VwBCIEINzNNPN8YwMwZP/XeJllyI7Oe76VG23NwVZxw23AgYFI";

    fn block(label: &str, inner: &str) -> String {
        format!("-----BEGIN {label}-----\n{inner}\n-----END {label}-----\n")
    }

    #[test]
    fn keys_of_both_formats_are_read() {
        let signer = Signer::read(&block("OPENSSH PRIVATE KEY", OPENSSH)).unwrap();
        assert_eq!(
            crate::admin::fingerprint(signer.public_key()),
            "SHA256:YYhoH3HUq5mgeQz3V4lDsgBKSYdBNu7Zu2ccI0XAABs"
        );
        let signature = STANDARD.decode(signer.sign("text")).unwrap();
        let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, signer.public_key());
        public.verify(b"text", &signature).unwrap();
        let other = Signer::read(&block("PRIVATE KEY", PKCS8)).unwrap();
        assert_eq!(STANDARD.encode(other.public_key()), "DP0IT3NwIMM6cRNZZpCBbGMPDIjYFbggmLJT3r3Syz4=");
    }

    #[test]
    fn what_is_no_key_is_told_and_not_repeated() {
        let whole = STANDARD.decode(OPENSSH).unwrap();
        for length in 0..whole.len() - 24 {
            let text = block("OPENSSH PRIVATE KEY", &STANDARD.encode(&whole[..length]));
            assert!(Signer::read(&text).is_err(), "{length}");
        }
        for (text, want) in [
            (block("OPENSSH PRIVATE KEY", LOCKED), "passphrase"),
            (block("ENCRYPTED PRIVATE KEY", "AAAA"), "passphrase"),
            (block("PRIVATE KEY", "c2VjcmV0"), "no Ed25519 key"),
            (block("OPENSSH PRIVATE KEY", "c2VjcmV0"), "format"),
            (block("OPENSSH PRIVATE KEY", "%"), "base 64"),
            ("-----BEGIN PRIVATE KEY-----\nc2Vj".to_owned(), "too early"),
            ("ssh-ed25519 AAAA".to_owned(), "public key"),
            ("secret".to_owned(), "neither"),
        ] {
            let told = Signer::read(&text).err().unwrap();
            assert!(told.contains(want) && !told.contains("secret"), "{told}");
        }
    }
}
