//! One Rowspout between two proxies, in which one fault is played after the other.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rowspout::config::ClickHouse;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::http1::Reader;
use super::judge::{Got, Outcome, Receipt, judge};
use super::plan::{Ask, End, FORMATS, Fault, Kind, WIDE, Way};
use super::proxy::{Board, Exchange, OnKill, Play, Proxy, Report};
use super::world::{RANGE, RANGE_FLAGS, World, clickhouse, sha256};
use crate::compression::decode;
use crate::support::command::rowspout;
use crate::support::service::{TestService, config};

/// Longer than anything takes on a machine that is busy with other things: what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(240);

/// Longest time of a query, in seconds; where a stream stops for good, that is waited for.
const QUERY_SECONDS: u64 = 20;

/// What the client took nothing for is given up, in seconds.
const STALL_SECONDS: u64 = 4;

/// How long ClickHouse may send nothing, in seconds.
const SILENCE_SECONDS: u64 = 4;

/// How long an export may be interrupted in all, in seconds. One that is cut behind every few rows goes on behind each, and
/// would do so for minutes.
const RESUME_SECONDS: u64 = 60;

/// Before an export is taken up again, in milliseconds.
const PAUSE_MS: u64 = 20;

/// How long a replica that failed is left alone: what befalls one export is nothing to the next.
const REPLICA_PAUSE: Duration = Duration::from_millis(100);

/// How long an export may go on after its client has gone.
const NOTICE: Duration = Duration::from_secs(20);

pub(crate) struct Lane {
    world: Arc<World>,
    /// Between ClickHouse and Rowspout, and between Rowspout and the client.
    server: Arc<Board>,
    client: Arc<Board>,
    engines: Arc<Engines>,
    services: HashMap<String, Served>,
}

/// A service, and the proxy in front of it.
struct Served {
    service: TestService,
    proxy: Proxy,
}

/// The proxies in front of ClickHouse.
struct Engines(Vec<Leading>);

/// A proxy, and the engine that it leads to.
struct Leading {
    proxy: Proxy,
    engine: AtomicUsize,
}

impl Engines {
    /// Kills the engine that a proxy leads to, and leads an only one to the other.
    fn kill(&self, world: &World, proxy: usize, replicas: usize) {
        let Leading { proxy, engine } = &self.0[proxy];
        let killed = engine.load(Ordering::SeqCst);
        world.kill(killed);
        if replicas == 1 {
            engine.store(1 - killed, Ordering::SeqCst);
            proxy.turn_to(&world.address(1 - killed));
        }
    }

    /// Starts again what was killed, and leads each to an engine of its own.
    fn revive(&self, world: &World) {
        let mut turned = self.0[0].engine.load(Ordering::SeqCst);
        for Leading { proxy, engine } in &self.0 {
            world.revive(turned);
            engine.store(turned, Ordering::SeqCst);
            proxy.turn_to(&world.address(turned));
            turned = 1 - turned;
        }
    }
}

/// What came of an export.
struct Ran {
    got: Got,
    export_id: Option<String>,
}

impl Lane {
    /// A lane that reads from an engine, or from it and the other where an export knows two.
    pub(crate) async fn new(world: &Arc<World>, engine: usize) -> Self {
        let server = Arc::<Board>::default();
        let mut engines = Vec::new();
        for number in 0..2 {
            let engine = (engine + number) % 2;
            let proxy = Proxy::start(number, &world.address(engine), &server).await;
            engines.push(Leading {
                proxy,
                engine: engine.into(),
            });
        }
        Self {
            world: world.clone(),
            server,
            client: Arc::default(),
            engines: Arc::new(Engines(engines)),
            services: HashMap::new(),
        }
    }

    /// How Rowspout reaches ClickHouse, by so many addresses.
    fn clickhouse(&self, replicas: usize) -> ClickHouse {
        let urls = self.engines.0.iter().take(replicas);
        let urls = urls.map(|each| format!("http://{}", each.proxy.address));
        clickhouse(&urls.collect::<Vec<_>>().join(","))
    }

    /// Plays a fault, and says what came of it and whether it happened.
    pub(crate) async fn play(&mut self, fault: &Fault) -> Result<(Outcome, bool), String> {
        self.play_as(fault, fault).await
    }

    /// Plays a fault, and judges it as another one.
    pub(crate) async fn play_as(
        &mut self,
        fault: &Fault,
        judged: &Fault,
    ) -> Result<(Outcome, bool), String> {
        let lengths = self.learn(fault).await?;
        let play = Play {
            fault: fault.clone(),
            lengths,
            on_kill: (fault.kind == Kind::Kill).then(|| self.on_kill(fault.export.replicas)),
        };
        let (ran, report) = self.run(&fault.export, fault.end, Some(play)).await;
        if fault.kind == Kind::Kill {
            self.revive().await;
        }
        // As Rowspout wrote it: what the client got may be garbled.
        let mut exchanges = report.exchanges.iter();
        let id = exchanges.find_map(|each| each.export_id.clone());
        let id = id.or_else(|| ran.export_id.clone());
        let receipt = match id {
            Some(id) if !matches!(ran.got, Got::Refused(_)) => {
                Some(self.receipt(&fault.export, &id).await?)
            }
            _ => None,
        };
        let shown = ran.got.to_string();
        let outcome = judge(&self.world, judged, ran.got, receipt.as_ref(), &report);
        let outcome = outcome.map_err(|what| format!("{what}; got {shown}"))?;
        Ok((outcome, report.hits > 0))
    }

    fn on_kill(&self, replicas: usize) -> OnKill {
        let (world, engines) = (self.world.clone(), self.engines.clone());
        Arc::new(move |proxy| engines.kill(&world, proxy, replicas))
    }

    async fn revive(&self) {
        let (world, engines) = (self.world.clone(), self.engines.clone());
        let revived = tokio::task::spawn_blocking(move || engines.revive(&world));
        revived.await.expect("engines");
    }

    /// The lengths of the answers that an unbroken export needs.
    async fn learn(&mut self, fault: &Fault) -> Result<Vec<Exchange>, String> {
        let mut export = fault.export;
        let key = match fault.end {
            End::Server => {
                export.format = FORMATS[0];
                // On a busy machine it may take longer.
                export.impatient = false;
                export.way = match export.way {
                    Way::Command => Way::Command,
                    _ => Way::Http1(""),
                };
                export.parallel = if export.site == WIDE {
                    export.parallel
                } else {
                    1
                };
                format!("{export:?}")
            }
            End::Client => format!("{} {} {:?}", export.site, export.format, export.way),
        };
        let world = self.world.clone();
        if let Some(lengths) = world.lengths.lock().await.get(&key) {
            return Ok(lengths.clone());
        }
        let (ran, report) = self.run(&export, fault.end, None).await;
        match ran.got {
            Got::File(file) if file == world.file(export.site, export.format).bytes => {}
            got => return Err(format!("unbroken, it is {got}")),
        }
        let mut known = world.lengths.lock().await;
        known.insert(key, report.exchanges.clone());
        Ok(report.exchanges)
    }

    /// Runs an export with what is to happen at one of its ends.
    async fn run(&mut self, export: &Ask, end: End, play: Option<Play>) -> (Ran, Report) {
        let ready = match export.way {
            Way::Command => None,
            _ => Some(self.service(export).await),
        };
        let board = match end {
            End::Server => self.server.clone(),
            End::Client => self.client.clone(),
        };
        board.begin(play);
        let running = async {
            match ready {
                None => self.command(export).await,
                Some(key) => {
                    let served = &self.services[&key];
                    let address = match end {
                        End::Server => served.service.address.to_string(),
                        End::Client => served.proxy.address.clone(),
                    };
                    ask(&address, export, &self.world.key).await
                }
            }
        };
        let ran = tokio::time::timeout(PATIENCE, running).await;
        let ran = ran.unwrap_or_else(|_| Ran {
            got: Got::Wrong("it hangs".into()),
            export_id: None,
        });
        (ran, board.end())
    }

    /// The service with the settings of an export, started where it is not there yet.
    async fn service(&mut self, export: &Ask) -> String {
        let Ask {
            wire,
            compression,
            parallel,
            replicas,
            impatient,
            ..
        } = *export;
        let key = service_key(export);
        if !self.services.contains_key(&key) {
            let mut settings = config(&self.clickhouse(replicas));
            settings.wire = wire;
            settings.wire_compression = compression;
            settings.parallel = parallel;
            settings.max_query = Duration::from_secs(query_seconds(impatient));
            settings.stall = Duration::from_secs(STALL_SECONDS);
            settings.silence = Duration::from_secs(SILENCE_SECONDS);
            settings.resume = Duration::from_secs(RESUME_SECONDS);
            settings.resume_pause = Duration::from_millis(PAUSE_MS);
            settings.replica_pause = REPLICA_PAUSE;
            let service = TestService::start_without_key(settings, self.world.key.clone()).await;
            let proxy = Proxy::start(0, &service.address.to_string(), &self.client).await;
            self.services.insert(key.clone(), Served { service, proxy });
        }
        key
    }

    /// The byte at which a header begins in the answer to an export.
    pub(crate) async fn header(&mut self, export: &Ask, name: &str) -> u32 {
        let key = self.service(export).await;
        let request = format!(
            "GET /api/websites/{}/export?{RANGE}&format={} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
            export.site, export.format, self.world.key
        );
        let address = self.services[&key].service.address;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let (read, _write) = stream.split();
        let head = Reader::new(read).head().await.unwrap().expect("a head");
        let lines = String::from_utf8_lossy(&head.bytes);
        let at = lines.find(&format!("\r\n{name}: ")).expect(name);
        at as u32 + 2
    }

    /// The receipt of an export, once it says how that ended.
    async fn receipt(&self, export: &Ask, id: &str) -> Result<Receipt, String> {
        let service = &self.services[&service_key(export)].service;
        let begun = Instant::now();
        loop {
            let path = format!("/api/exports/{id}");
            let answer = service
                .send(Method::GET, &path, Some(&self.world.key))
                .await;
            let text = answer.text();
            let json: serde_json::Value =
                serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
            let text = |name: &str| json[name].as_str().unwrap_or("").to_owned();
            if text("status") != "running" {
                return Ok(Receipt {
                    status: text("status"),
                    reason: text("reason"),
                    sha256: text("sha256"),
                });
            }
            if begun.elapsed() > NOTICE {
                return Err("its receipt says that it still runs".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `rowspout export` into a folder of its own.
    async fn command(&self, export: &Ask) -> Ran {
        let folder = tempfile::tempdir().unwrap();
        let mut command = rowspout(&self.clickhouse(export.replicas));
        command
            .current_dir(folder.path())
            .args(["export", "--site", export.site, "--format", export.format])
            .args(RANGE_FLAGS)
            .args(["-o", "file", "--receipt", "receipt"])
            .env("ROWSPOUT_WIRE", export.wire.as_str())
            .env("ROWSPOUT_WIRE_COMPRESSION", export.compression.as_str())
            .env("ROWSPOUT_PARALLEL", export.parallel.to_string())
            .env("ROWSPOUT_SILENCE_SECONDS", SILENCE_SECONDS.to_string())
            .env("ROWSPOUT_RESUME_SECONDS", RESUME_SECONDS.to_string())
            .env("ROWSPOUT_RESUME_PAUSE_MS", PAUSE_MS.to_string())
            .env(
                "ROWSPOUT_MAX_QUERY_SECONDS",
                query_seconds(export.impatient).to_string(),
            );
        let mut command = tokio::process::Command::from(command);
        let output = command.kill_on_drop(true).output().await.unwrap();
        let got = match output.status.code() {
            Some(0) => file(folder.path()),
            code => {
                let left = std::fs::read_dir(folder.path()).unwrap().count();
                match (code, left) {
                    (Some(code), 0) => Got::Exit(code),
                    _ => Got::Wrong(format!(
                        "{left} files were left behind by exit code {code:?}: {}",
                        String::from_utf8_lossy(&output.stderr)
                    )),
                }
            }
        };
        Ran {
            got,
            export_id: None,
        }
    }
}

fn query_seconds(impatient: bool) -> u64 {
    if impatient { 1 } else { QUERY_SECONDS }
}

/// Exports of one key can share a service: its settings are the same.
fn service_key(export: &Ask) -> String {
    let Ask {
        wire,
        compression,
        parallel,
        replicas,
        impatient,
        ..
    } = export;
    format!("{wire:?} {compression:?} {parallel} {replicas} {impatient}")
}

/// What `rowspout export` wrote, if its receipt is that file's.
fn file(folder: &Path) -> Got {
    let file = std::fs::read(folder.join("file"));
    let receipt = std::fs::read_to_string(folder.join("receipt"));
    let (Ok(file), Ok(receipt)) = (file, receipt) else {
        return Got::Wrong("exit code 0 and no file".into());
    };
    if !receipt.contains(&sha256(&file)) {
        return Got::Wrong(format!("the receipt is another file's: {receipt}"));
    }
    Got::File(file)
}

/// An export over HTTP.
async fn ask(address: &str, export: &Ask, key: &str) -> Ran {
    let mut request = Request::get(format!(
        "http://{address}/api/websites/{}/export?{RANGE}&format={}",
        export.site, export.format
    ));
    request = request.header("authorization", format!("Bearer {key}"));
    if let Way::Http1(encoding @ ("zstd" | "gzip" | "br")) = export.way {
        request = request.header("accept-encoding", encoding);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let client = Client::builder(TokioExecutor::new())
        .http2_only(export.way == Way::Http2)
        .build_http();
    let response = match client.request(request).await {
        Ok(response) => response,
        Err(error) => {
            return Ran {
                got: Got::Aborted(error.to_string()),
                export_id: None,
            };
        }
    };
    let (head, body) = response.into_parts();
    let text = |name: &str| {
        let value = head.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let got = match body.collect().await {
        Err(error) => Got::Aborted(error.to_string()),
        Ok(_) if head.status.as_u16() >= 400 => Got::Refused(head.status.as_u16()),
        Ok(_) if head.status != 200 => Got::Wrong(format!("status {}", head.status)),
        Ok(body) => match text("content-encoding") {
            None => Got::File(body.to_bytes().to_vec()),
            Some(encoding) => match decode(&encoding, &body.to_bytes()) {
                (file, true) => Got::File(file),
                _ => Got::Wrong(format!("it ends well, but its {encoding} does not")),
            },
        },
    };
    Ran {
        got,
        export_id: text("x-export-id"),
    }
}
