//! Which server is tried next: the list of `mesh.url` in turn, and before it one that a server redirected to.

use std::time::{Duration, Instant};

use super::url::Server;

/// Redirects that are obeyed within [`WITHIN`]; more of them are servers that send clients in circles.
const REDIRECTS: usize = 5;
const WITHIN: Duration = Duration::from_secs(60);

/// A server to try: with its number in the list, or redirected to.
pub(super) struct Candidate {
    number: Option<usize>,
    pub(super) server: Server,
}

/// The way of one connection through the servers.
#[derive(Default)]
pub(super) struct Route {
    /// Number in the list that is tried first.
    next: usize,
    redirect: Option<Server>,
    obeyed: Vec<Instant>,
    /// Where the session is or was: a number in the list, or where it was redirected to.
    at: Option<usize>,
}

impl Route {
    /// What to try, in order. A redirect is tried once: when that server fails, the list has its turn again, beginning with
    /// the one that redirected.
    pub(super) fn candidates(&mut self, list: &[Server]) -> Vec<Candidate> {
        let redirect = self.redirect.take().map(|server| Candidate { number: None, server });
        let listed = (0..list.len()).filter_map(|step| {
            let number = (self.next + step) % list.len();
            Some(Candidate {
                number: Some(number),
                server: list.get(number)?.clone(),
            })
        });
        redirect.into_iter().chain(listed).collect()
    }

    /// There is a session with this server.
    pub(super) fn stands(&mut self, candidate: &Candidate) {
        self.at = candidate.number;
        self.next = candidate.number.unwrap_or(self.next);
    }

    /// The session is over, or none could be had: the next of the list has its turn.
    pub(super) fn failed(&mut self) {
        self.next = self.at.take().map_or(self.next, |at| at + 1);
    }

    /// A server redirects. `false` when there have been too many redirects of late: then it is not obeyed.
    pub(super) fn redirect(&mut self, to: Server) -> bool {
        self.obeyed.retain(|at| at.elapsed() < WITHIN);
        if self.obeyed.len() >= REDIRECTS {
            return false;
        }
        self.obeyed.push(Instant::now());
        self.redirect = Some(to);
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn server(host: &str) -> Server {
        Server {
            host: host.into(),
            port: 1,
        }
    }

    fn order(route: &mut Route, list: &[Server]) -> Vec<String> {
        route.candidates(list).into_iter().map(|c| c.server.host).collect()
    }

    #[test]
    fn the_list_goes_round_and_a_redirect_goes_before_it_once() {
        let list = [server("a"), server("b"), server("c")];
        let mut route = Route::default();
        assert_eq!(order(&mut route, &list), ["a", "b", "c"]);
        let second = route.candidates(&list).remove(1);
        route.stands(&second);
        assert!(route.redirect(server("x")));
        let first = route.candidates(&list).remove(0);
        assert_eq!(first.server.host, "x");
        route.stands(&first);
        route.failed();
        assert_eq!(order(&mut route, &list), ["b", "c", "a"]);
        route.stands(&second);
        route.failed();
        assert_eq!(order(&mut route, &list), ["c", "a", "b"]);
    }

    #[test]
    fn circles_of_redirects_end() {
        let mut route = Route::default();
        assert!((0..REDIRECTS).all(|_| route.redirect(server("x"))));
        assert!(!route.redirect(server("y")));
    }
}
