//! Which prediction a line belongs to.

use serde_json::json;

use crate::server::Model;

#[test]
fn both_streams_in_order() {
    let body = "print('one')\nprint('two', file=sys.stderr)\nsys.stdout.write('th')\nsys.stdout.write('ree')\nreturn ''";
    let server = Model::run("def run(self) -> str", body).ready();
    for _ in 0..2 {
        assert_eq!(server.predict(json!({}))["logs"], "one\ntwo\nthree");
    }
    let line = server.until_logged("\"message\":\"two\"");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(
        line["prediction_id"].as_str().unwrap().starts_with("pred_"),
        "{line}"
    );
}

#[test]
fn logging_is_caught_too() {
    let server = Model::run(
        "def run(self) -> str",
        "import logging\nlogging.warning('careful')\nreturn ''",
    )
    .ready();
    let logs = server.predict(json!({}))["logs"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(logs.contains("careful"), "{logs}");
}

#[test]
fn child_processes_and_c_code_belong_to_the_only_prediction() {
    let body = "import subprocess\nos.write(1, b'from C')\nsubprocess.run(['echo', 'from a child'], check=True)\nreturn ''";
    let server = Model::run("def run(self) -> str", body).ready();
    assert_eq!(server.predict(json!({}))["logs"], "from Cfrom a child\n");
}

#[test]
fn background_threads_do_not_pollute_the_next_prediction() {
    let server = Model::run(
        "def run(self, s: str) -> str",
        "import threading\ndef late():\n    while not os.path.exists('go'): time.sleep(0.01)\n    print('late word')\n    \
         open('printed', 'w').close()\nif s == 'start':\n    threading.Thread(target=late, daemon=True).start()\nreturn s",
    )
    .ready();
    assert_eq!(server.predict(json!({"s": "start"}))["logs"], "");
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    server.until_file("printed");
    server.until_logged("late word");
    assert_eq!(server.predict(json!({"s": "x"}))["logs"], "");
}

#[test]
fn many_lines_arrive_whole() {
    let server = Model::run(
        "def run(self) -> str",
        "for n in range(20000): print(n)\nreturn ''",
    )
    .ready();
    let expected: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(server.predict(json!({}))["logs"], expected);
}

#[test]
fn case_61_a_chatty_child_blocks_nobody() {
    let server = Model::new(
        "import signal, subprocess, sys\nfrom cog import BaseRunner\nCHILD = '''\nimport signal, sys\n\
         def talk(*_):\n    for n in range(100): print('child', n, flush=True)\n\
         signal.signal(signal.SIGUSR2, talk)\nprint('listening', flush=True)\nwhile True: signal.pause()\n'''\n\
         class Runner(BaseRunner):\n    def setup(self):\n        \
         self.child = subprocess.Popen([sys.executable, '-c', CHILD])\n    \
         def run(self, s: str) -> str:\n        self.child.send_signal(signal.SIGUSR2)\n        return 'hello ' + s\n",
    )
    .ready();
    server.until_logged("listening");
    for _ in 0..3 {
        assert_eq!(server.output(json!({"s": "x"})), "hello x");
    }
    server.stop();
}

#[test]
fn a_flood_from_a_child_does_not_stop_predictions() {
    let server = Model::new(
        "import subprocess\nfrom cog import BaseRunner\nclass Runner(BaseRunner):\n    def setup(self):\n        \
         self.child = subprocess.Popen(['yes', 'flood'])\n    def run(self, s: str) -> str:\n        return s\n",
    )
    .env("RUST_LOG", "info,user=off")
    .ready();
    for _ in 0..10 {
        assert_eq!(server.output(json!({"s": "x"})), "x");
    }
    server.stop();
}

#[test]
fn case_62_a_double_forked_child_serves_predictions() {
    let server = Model::new(
        "import os, time\nfrom cog import BaseRunner\n\ndef mailbox():\n    while True:\n        \
         if os.path.exists('question'):\n            text = open('question').read()\n            \
         os.remove('question')\n            open('answer.tmp', 'w').write(text.upper())\n            \
         os.rename('answer.tmp', 'answer')\n        time.sleep(0.005)\n\n\
         class Runner(BaseRunner):\n    def setup(self):\n        child = os.fork()\n        \
         if child == 0:\n            os.setsid()\n            if os.fork() == 0: mailbox()\n            os._exit(0)\n        \
         os.waitpid(child, 0)\n\n    def run(self, s: str) -> str:\n        \
         open('question.tmp', 'w').write(s)\n        os.rename('question.tmp', 'question')\n        \
         while not os.path.exists('answer'): time.sleep(0.005)\n        text = open('answer').read()\n        \
         os.remove('answer')\n        return text\n",
    )
    .ready();
    for (question, answer) in [("a", "A"), ("b", "B"), ("c", "C")] {
        assert_eq!(server.output(json!({"s": question})), answer);
    }
    server.stop();
}
