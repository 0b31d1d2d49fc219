//! An ordered, bounded queue before a crew of threads.
//!
//! Jobs go in and results come out in the same order, whichever thread is done first. At most
//! [`AHEAD`] jobs a thread are under way: that bounds the memory. The owner works as well when it would wait.
//!
//!   push ──▶ ▢▢▢▢ ──▶ thread 0 … n, owner ──▶ ▣▢▣▣ ──▶ pop (oldest first)

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Jobs under way for each thread: one at work, the rest so that a slow block does not leave others idle.
const AHEAD: usize = 4;

/// The owner's side of the queue.
pub(super) struct Queue<'a, J, R, W> {
    jobs: Sender<(u64, J)>,
    /// The other end of `jobs`. A thread that finds no job holds the lock until there is one.
    queued: &'a Mutex<Receiver<(u64, J)>>,
    /// The owner's own.
    work: W,
    results: Receiver<(u64, Option<R>)>,
    /// Results of the jobs from number `oldest` on, as far as they are there.
    waiting: VecDeque<Option<R>>,
    oldest: u64,
    bound: usize,
}

impl<J, R, W: FnMut(J) -> R> Queue<'_, J, R, W> {
    /// Whether another job may be pushed.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < self.bound
    }

    /// Hands `job` to the first idle thread.
    pub(super) fn push(&mut self, job: J) {
        let number = self.oldest + self.waiting.len() as u64;
        self.waiting.push_back(None);
        self.jobs.send((number, job)).expect("threads work until the queue is gone");
    }

    /// Takes the result of the oldest job, working on others until it is there; none when no job is under way.
    pub(super) fn pop(&mut self) -> Option<R> {
        while self.waiting.front()?.is_none() {
            let (number, result) = if let Ok(done) = self.results.try_recv() {
                done
            } else if let Some((number, job)) = self.idle_job() {
                (number, Some((self.work)(job)))
            } else {
                self.results.recv().expect("threads work until the queue is gone")
            };
            let slot = usize::try_from(number - self.oldest).expect("the queue is in memory");
            self.waiting[slot] = Some(result.expect("no thread panics"));
        }
        self.oldest += 1;
        self.waiting.pop_front().flatten()
    }

    /// A job that no thread has begun. Locked means that there is none, or soon will be none.
    fn idle_job(&self) -> Option<(u64, J)> {
        self.queued.try_lock().ok()?.try_recv().ok()
    }
}

/// Runs `owner` with a queue served by `threads` threads, if any, and by itself, each with a worker of its own made by
/// `worker`.
pub(super) fn with_threads<J: Send, R: Send, W: FnMut(J) -> R, T>(
    threads: usize,
    worker: impl Fn() -> W + Sync,
    owner: impl FnOnce(Queue<'_, J, R, W>) -> T,
) -> T {
    let (jobs, queued) = mpsc::channel();
    let (done, results) = mpsc::channel();
    let queued = Mutex::new(queued);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| serve(&queued, &done, worker()));
        }
        let bound = threads.saturating_add(1).saturating_mul(AHEAD);
        owner(Queue {
            jobs,
            queued: &queued,
            work: worker(),
            results,
            waiting: VecDeque::new(),
            oldest: 0,
            bound,
        })
    })
}

fn serve<J, R>(
    queued: &Mutex<Receiver<(u64, J)>>,
    done: &Sender<(u64, Option<R>)>,
    mut work: impl FnMut(J) -> R,
) {
    loop {
        let next = queued.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, job)) = next else { return };
        let mut reply = Reply { done, number, result: None };
        reply.result = Some(work(job));
    }
}

/// Sends when dropped: nothing if the work panicked, so that the owner does not wait for ever.
struct Reply<'a, R> {
    done: &'a Sender<(u64, Option<R>)>,
    number: u64,
    result: Option<R>,
}

impl<R> Drop for Reply<'_, R> {
    fn drop(&mut self) {
        // Without an owner nobody wants the result.
        let _ = self.done.send((self.number, self.result.take()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_the_order_of_jobs() {
        for threads in [0, 1, 2, 7] {
            let worker = || {
                |job: u64| {
                    thread::sleep(Duration::from_micros(job * 7919 % 300));
                    job * 2
                }
            };
            let results = with_threads(threads, worker, |mut queue| {
                let mut results = Vec::new();
                let mut jobs = 0..100;
                loop {
                    while queue.has_room()
                        && let Some(job) = jobs.next()
                    {
                        queue.push(job);
                    }
                    let Some(result) = queue.pop() else { return results };
                    results.push(result);
                }
            });
            assert_eq!(results, (0..200).step_by(2).collect::<Vec<_>>(), "{threads} threads");
        }
    }

    #[test]
    fn the_queue_is_bounded() {
        let bound = with_threads(
            3,
            || |job: u64| job,
            |mut queue| {
                let mut pushed = 0;
                while queue.has_room() {
                    queue.push(pushed);
                    pushed += 1;
                }
                pushed
            },
        );
        assert_eq!(bound, 16);
    }

    #[test]
    #[should_panic(expected = "no thread panics")]
    fn a_panic_reaches_the_owner() {
        let owner = thread::current().id();
        let worker = || move |_: u64| assert_eq!(thread::current().id(), owner, "wrong");
        with_threads(1, worker, |mut queue| {
            // The owner takes some of them, not all for ever.
            loop {
                queue.push(1);
                queue.pop();
            }
        });
    }

    #[test]
    fn the_owner_works_instead_of_waiting() {
        let owner = thread::current().id();
        let (both_at_work, owner_done) = (Barrier::new(2), Barrier::new(2));
        let by_owner = AtomicU32::new(0);
        let worker = || {
            |_: u64| {
                let here = thread::current().id();
                let before = if here == owner { by_owner.fetch_add(1, Ordering::Relaxed) } else { 0 };
                // The thread begins one job, and ends it after the owner has done the three others.
                if before == 0 {
                    both_at_work.wait();
                }
                if here != owner || before == 2 {
                    owner_done.wait();
                }
                here
            }
        };
        let by: Vec<_> = with_threads(1, worker, |mut queue| {
            (0..4).for_each(|job| queue.push(job));
            std::iter::from_fn(|| queue.pop()).collect()
        });
        assert_eq!(by.iter().filter(|id| **id == owner).count(), 3);
    }
}
