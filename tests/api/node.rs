//! An endpoint of a chain that answers as a test wants it to: what real nodes do only when something is wrong.
//!
//! What contracts make of signatures is not its business: a real node says that, in `tests/recipes`.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, watch},
};

use crate::harness::GIVE_UP;

/// What comes back to each question.
#[derive(Clone, Copy)]
pub enum Says {
    /// That a wallet with code accepts the signature, on a chain.
    Yes(u64),
    /// That it does not.
    No(u64),
    /// An HTTP status without a body.
    Status(u16),
    /// A redirection to another endpoint.
    Elsewhere(SocketAddr),
    /// A body that is no such answer.
    Body(&'static str),
    /// More than anybody wants to read.
    TooMuch,
    /// Nothing, for ever.
    Nothing,
    /// Nothing to the first question, and Yes on chain 1 to every later one.
    NothingThenYes,
    /// Yes or No on chain 1 for the wallet at this address; no answer about any other wallet.
    AboutOnly(&'static str, bool),
    /// No on chain 1, one answer for each [`Node::release`].
    NoWhenReleased,
}

/// Counts of the questions of a node.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub asked: usize,
    /// Neither answered nor given up by the service.
    pub in_flight: usize,
    pub most_in_flight: usize,
}

/// State that the connections of a node share.
struct Shared {
    counts: watch::Sender<Counts>,
    releases: Semaphore,
}

/// A listening endpoint, until it is dropped.
pub struct Node {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl Node {
    pub async fn that(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = watch::Sender::new(Counts::default());
        let shared = Arc::new(Shared { counts, releases: Semaphore::new(0) });
        let of_connections = Arc::clone(&shared);
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, says, Arc::clone(&of_connections)));
            }
        });
        Self { address, shared, server }
    }

    /// The entry of `chain-rpc`.
    pub fn of(&self, network: &str) -> String {
        format!("{network}=http://{}/v1/hunter2", self.address)
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.counts().asked
    }

    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Returns once it was asked.
    pub async fn until_asked(&self) {
        self.until(|counts| counts.asked > 0).await;
    }

    /// Waits until a condition on the counts holds.
    pub async fn until(&self, holds: impl FnMut(&Counts) -> bool) {
        let mut counts = self.shared.counts.subscribe();
        let waited = tokio::time::timeout(GIVE_UP, counts.wait_for(holds)).await;
        waited.expect("the node's questions did not become as expected").unwrap();
    }

    /// Allows one more answer of [`Says::NoWhenReleased`].
    pub fn release(&self) {
        self.shared.releases.add_permits(1);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A port that is taken, so that no test gets it, and where nobody listens.
static DEAD: LazyLock<TcpSocket> = LazyLock::new(|| {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket
});

/// An address where nobody listens.
pub async fn dead(network: &str) -> String {
    format!("{network}=http://{}/v1/hunter2", DEAD.local_addr().unwrap())
}

async fn serve(mut stream: TcpStream, says: Says, shared: Arc<Shared>) {
    let mut question = Vec::new();
    // The end of the question's JSON.
    while !question.ends_with(b"\"latest\"]}") {
        let mut piece = [0; 4_096];
        let Ok(read @ 1..) = stream.read(&mut piece).await else { return };
        question.extend_from_slice(&piece[..read]);
    }
    let asked = shared.count_question();
    let answer = answer_to(&question, asked, says, &shared).await;
    if answer.is_none() {
        // Until the service closes the connection.
        while let Ok(1..) = stream.read(&mut [0; 64]).await {}
    }
    // Before the answer is read: then the next question may come.
    shared.counts.send_modify(|counts| counts.in_flight -= 1);
    let _ = stream.write_all(answer.unwrap_or_default().as_bytes()).await;
}

/// The answer to the question of this number, if it gets one.
async fn answer_to(question: &[u8], asked: usize, says: Says, shared: &Shared) -> Option<String> {
    Some(match says {
        Says::Yes(chain_id) => response("200 OK", "", &verdict(1, chain_id)),
        Says::No(chain_id) => response("200 OK", "", &verdict(0, chain_id)),
        Says::Status(status) => response(&format!("{status} Status"), "", ""),
        Says::Elsewhere(address) => {
            response("307 Elsewhere", &format!("location: http://{address}/\r\n"), "")
        }
        Says::Body(body) => response("200 OK", "", body),
        Says::TooMuch => response("200 OK", "", &format!("{}{}", verdict(1, 1), " ".repeat(100_000))),
        Says::NothingThenYes if asked > 1 => response("200 OK", "", &verdict(1, 1)),
        Says::AboutOnly(wallet, accepts) if is_about(question, wallet) => {
            response("200 OK", "", &verdict(accepts.into(), 1))
        }
        Says::NoWhenReleased => {
            shared.releases.acquire().await.unwrap().forget();
            response("200 OK", "", &verdict(0, 1))
        }
        Says::Nothing | Says::NothingThenYes | Says::AboutOnly(..) => return None,
    })
}

impl Shared {
    /// Counts one more question; returns its number.
    fn count_question(&self) -> usize {
        self.counts.send_modify(|counts| {
            counts.asked += 1;
            counts.in_flight += 1;
            counts.most_in_flight = counts.most_in_flight.max(counts.in_flight);
        });
        self.counts.borrow().asked
    }
}

/// True if the call data contains the address of a wallet.
fn is_about(question: &[u8], wallet: &str) -> bool {
    let wallet = wallet.trim_start_matches("0x").to_lowercase();
    question.windows(wallet.len()).any(|window| window == wallet.as_bytes())
}

fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

/// Six words: whether it is accepted, no delegation, code before, code now, chain, block 77.
fn verdict(accepted: u64, chain_id: u64) -> String {
    let words: String = [accepted, 0, 9, 9, chain_id, 77].map(|word| format!("{word:064x}")).concat();
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":"0x{words}"}}"#)
}
