//! Against a hub of our own on loopback that speaks just enough HTTP: listings, ranges, connections that break.

use super::*;
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};
use tempfile::TempDir;

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server knows and has seen.
#[derive(Default)]
struct Served {
    files: HashMap<&'static str, Vec<u8>>,
    /// Bytes after which a connection breaks, for each request of a file's contents, in order.
    breaks: HashMap<&'static str, Vec<usize>>,
    /// Whether ranges are ignored.
    stubborn: bool,
    /// Path, range and authorization of each request.
    seen: Vec<(String, Option<String>, Option<String>)>,
}

struct TestHub {
    served: Arc<Mutex<Served>>,
    hub: Hub,
    _cache: TempDir,
}

impl TestHub {
    fn new(files: &[(&'static str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap());
        let files = files.iter().map(|(n, b)| (*n, b.to_vec())).collect();
        let served = Arc::new(Mutex::new(Served { files, ..Served::default() }));
        let shared = served.clone();
        // Ends with the test process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = shared.clone();
                thread::spawn(move || while answer(&stream, &served).is_some() {});
            }
        });
        let cache = TempDir::new().unwrap();
        let hub = Hub {
            endpoint,
            cache: cache.path().into(),
            token: None,
            offline: false,
            progress: false,
            resumptions: 0,
        };
        Self { served, hub, _cache: cache }
    }

    fn fetch(&self) -> Result<PathBuf> {
        self.hub.fetch(&HubId::parse("me/tiny").unwrap())
    }

    /// Ranges of the requests for contents of `name`; those that only ask for the size left out.
    fn ranges(&self, name: &str) -> Vec<String> {
        let served = self.served.lock().unwrap();
        let of = |(path, range, _): &(String, Option<String>, _)| {
            path.ends_with(name).then(|| range.clone()).flatten().filter(|r| r != "bytes=0-0")
        };
        served.seen.iter().filter_map(of).collect()
    }
}

/// Answers one request; `None` ends the connection.
fn answer(stream: &TcpStream, served: &Mutex<Served>) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let path = lines.next()?.ok()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<String> = lines.map_while(|l| l.ok().filter(|l| !l.is_empty())).collect();
    let header = |name: &str| {
        headers.iter().find_map(|h| {
            let (key, value) = h.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let mut served = served.lock().unwrap();
    served.seen.push((path.clone(), header("range"), header("authorization")));
    if path.starts_with("/api/models/me/tiny/revision/") {
        let siblings: Vec<_> =
            served.files.keys().map(|n| format!("{{\"rfilename\":\"{n}\"}}")).collect();
        let body = format!("{{\"sha\":\"{SHA}\",\"siblings\":[{}]}}", siblings.join(","));
        return send(stream, "200 OK", &[], body.as_bytes(), body.len());
    }
    let prefix = format!("/me/tiny/resolve/{SHA}/");
    let name = path.strip_prefix(&prefix).unwrap_or_default();
    let Some((&name, body)) = served.files.get_key_value(name) else {
        return send(stream, "404 Not Found", &[], b"", 0);
    };
    let body = body.clone();
    let range = header("range")
        .filter(|_| !served.stubborn || header("range").as_deref() == Some("bytes=0-0"));
    let start: usize =
        range.as_deref().unwrap_or("bytes=0-")[6..].split('-').next()?.parse().ok()?;
    if start >= body.len() {
        return send(stream, "416 Range Not Satisfiable", &[], b"", 0);
    }
    let probe = range.as_deref() == Some("bytes=0-0");
    let end = if probe { 1 } else { body.len() };
    let limit = match served.breaks.get_mut(name).filter(|b| !probe && !b.is_empty()) {
        Some(breaks) => breaks.remove(0),
        None => usize::MAX,
    };
    let size = body.len();
    let facts = [
        format!("ETag: \"{}-{size}\"", name.replace(['/', '.'], "-")),
        format!("X-Repo-Commit: {SHA}"),
        format!("Content-Range: bytes {start}-{}/{size}", end - 1),
    ];
    send(stream, "206 Partial Content", &facts, &body[start..end], limit)
}

/// Sends at most `limit` bytes of the body that the headers announce.
fn send(
    mut stream: &TcpStream,
    status: &str,
    headers: &[String],
    body: &[u8],
    limit: usize,
) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{}\r\n",
        body.len(),
        headers.iter().map(|h| format!("{h}\r\n")).collect::<String>()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body[..body.len().min(limit)]).ok()?;
    if limit < body.len() {
        let _ = stream.shutdown(std::net::Shutdown::Both);
        return None;
    }
    Some(())
}

fn weights() -> Vec<u8> {
    (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
}

fn tiny() -> TestHub {
    TestHub::new(&[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        ("README.md", b"no"),
        (WEIGHTS, &weights()),
    ])
}

#[test]
fn takes_what_a_model_needs_and_nothing_else() {
    let test = tiny();
    let folder = test.fetch().unwrap();
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    assert!(folder.join("tokenizer.json").exists() && !folder.join("README.md").exists());
    let asked = test.served.lock().unwrap().seen.len();
    // Kept: no more requests, not even without a network.
    assert_eq!(test.fetch().unwrap(), folder);
    let offline = Hub { offline: true, endpoint: "http://127.0.0.1:1".into(), ..test.hub.clone() };
    assert_eq!(offline.fetch(&HubId::parse("me/tiny").unwrap()).unwrap(), folder);
    assert_eq!(test.served.lock().unwrap().seen.len(), asked);
}

#[test]
fn takes_what_the_tokenizer_consists_of() {
    let marian = ["source.spm", "target.spm", "vocab.json", "tokenizer_config.json"];
    let mut files: Vec<(&str, &[u8])> = marian.map(|name| (name, &b"{}"[..])).to_vec();
    files.extend([("config.json", &b"{}"[..]), (WEIGHTS, b"all")]);
    let test = TestHub::new(&files);
    let folder = test.fetch().unwrap();
    assert!(marian.iter().all(|name| folder.join(name).exists()));
    // One file is enough where it is there.
    files.push(("tokenizer.json", b"{}"));
    let test = TestHub::new(&files);
    let folder = test.fetch().unwrap();
    assert!(folder.join("tokenizer.json").exists() && !folder.join("source.spm").exists());
}

#[test]
fn goes_on_where_a_download_broke_off() {
    let test = tiny();
    test.served.lock().unwrap().breaks.insert(WEIGHTS, vec![100_000]);
    let error = test.fetch().unwrap_err().to_string();
    assert!(error.contains("me/tiny") && error.contains(WEIGHTS), "{error}");
    let folder = test.fetch().unwrap();
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
    let ranges = test.ranges(WEIGHTS);
    assert_eq!(ranges[0], "bytes=0-");
    let resumed: usize = ranges[1]["bytes=".len()..ranges[1].len() - 1].parse().unwrap();
    assert!((1..=100_000).contains(&resumed), "{ranges:?}");
    // The small files came with the first attempt.
    assert_eq!(test.ranges("tokenizer.json").len(), 1);
}

#[test]
fn takes_a_broken_transfer_up_again() {
    let mut test = tiny();
    test.hub.resumptions = 2;
    test.served.lock().unwrap().breaks.insert(WEIGHTS, vec![50_000, 0]);
    let folder = test.fetch().unwrap();
    assert_eq!(fs::read(folder.join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn a_finished_part_does_not_block() {
    let mut test = tiny();
    test.hub.resumptions = 1;
    let blobs = test.hub.cache.join("models--me--tiny/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join("model-safetensors-300000.part"), weights()).unwrap();
    assert_eq!(fs::read(test.fetch().unwrap().join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn a_server_that_ignores_ranges_is_noticed() {
    let test = tiny();
    test.served.lock().unwrap().breaks.insert(WEIGHTS, vec![100_000]);
    test.fetch().unwrap_err();
    test.served.lock().unwrap().stubborn = true;
    assert!(test.fetch().unwrap_err().to_string().contains("announced"));
    assert_eq!(fs::read(test.fetch().unwrap().join(WEIGHTS)).unwrap(), weights());
}

#[test]
fn shards_and_modules_are_followed() {
    let index = br#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-1.safetensors"}}"#;
    let modules = br#"[{"path": ""}, {"path": "1_Pooling"}, {"path": "2_Normalize"}]"#;
    let mut test = TestHub::new(&[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{}"),
        (MODULES, modules),
        ("1_Pooling/config.json", b"{}"),
        (INDEX, index),
        ("m-1.safetensors", b"one"),
        ("m-2.safetensors", b"two"),
    ]);
    test.hub.token = Some("secret".into());
    test.served.lock().unwrap().breaks.insert("m-2.safetensors", vec![1]);
    test.fetch().unwrap_err();
    let offline = Hub { offline: true, ..test.hub.clone() };
    let error = offline.fetch(&HubId::parse("me/tiny").unwrap()).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE"), "{error}");
    let folder = test.fetch().unwrap();
    assert!(folder.join("1_Pooling/config.json").exists());
    assert_eq!(fs::read(folder.join("m-2.safetensors")).unwrap(), b"two");
    let seen = &test.served.lock().unwrap().seen;
    assert!(seen.iter().all(|(.., auth)| auth.as_deref() == Some("Bearer secret")));
}

#[test]
fn refusals_say_why() {
    let test = TestHub::new(&[("config.json", b"{}"), ("pytorch_model.bin", b"")]);
    assert!(test.fetch().unwrap_err().to_string().contains("pytorch_model.bin"));
    let error = test.hub.fetch(&HubId::parse("me/other").unwrap()).unwrap_err().to_string();
    assert!(error.contains("me/other") && error.contains("no such model"), "{error}");
    let sly =
        TestHub::new(&[("config.json", b"{}"), (INDEX, br#"{"weight_map": {"a": "../../x"}}"#)]);
    assert!(sly.fetch().unwrap_err().to_string().contains("../../x"));
    let gone = Hub { endpoint: "http://127.0.0.1:1".into(), ..test.hub.clone() };
    assert!(gone.fetch(&HubId::parse("me/tiny").unwrap()).is_err());
}

#[test]
fn ids_are_told_from_paths() {
    for good in ["gpt2", "google/flan-t5-small", "me/tiny@v1.0", "me/tiny@refs/pr/1"] {
        assert!(HubId::parse(good).is_some(), "{good}");
    }
    for bad in [
        "", "/gpt2", "a/b/c", "./model", "../model", "a/", "a b", "me/tiny@", "C:\\x", "me/-x",
        "a..b",
    ] {
        assert!(HubId::parse(bad).is_none(), "{bad}");
    }
}
