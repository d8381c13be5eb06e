//! Completions and the manual hold the whole command line.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, completions::script, man::Man};

/// Every command with its words, as `client create`, and its flags.
fn every_command() -> Vec<(String, Vec<String>)> {
    fn collect(command: &clap::Command, words: &str, found: &mut Vec<(String, Vec<String>)>) {
        for inner in command.get_subcommands() {
            let words = format!("{words} {}", inner.get_name()).trim().to_owned();
            let flags = inner.get_arguments().filter_map(clap::Arg::get_long).map(str::to_owned).collect();
            found.push((words.clone(), flags));
            collect(inner, &words, found);
        }
    }
    let mut found = Vec::new();
    collect(&Cli::command(), "", &mut found);
    assert!(found.len() > 15, "only {} commands were seen: these tests have gone blind", found.len());
    found
}

/// What bash would complete after `countersign WORDS`, by the script itself.
fn completed_by_bash(words: &str, begun: &str) -> Vec<String> {
    let ask = format!(
        "{}\nCOMP_WORDS=(countersign {words} '{begun}') COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
         _countersign countersign '{begun}' \"${{COMP_WORDS[COMP_CWORD - 1]}}\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script(Shell::Bash)
    );
    let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_every_command_and_its_flags() {
    for (words, flags) in every_command() {
        let (before, last) = words.rsplit_once(' ').unwrap_or(("", &words));
        let commands = completed_by_bash(before, last);
        assert!(commands.iter().any(|command| command == last), "{words} is missing: {commands:?}");
        let offered = completed_by_bash(&words, "--");
        for flag in flags {
            assert!(offered.contains(&format!("--{flag}")), "{words} --{flag} is missing: {offered:?}");
        }
    }
}

#[test]
fn zsh_and_fish_by_their_text_alone_know_every_command_and_flag() {
    for (shell, before_command, before_flag) in [(Shell::Zsh, "'", "--"), (Shell::Fish, "-a \"", "-l ")] {
        let script = script(shell);
        for (words, flags) in every_command() {
            let command = format!("{before_command}{}", words.rsplit(' ').next().unwrap());
            assert!(script.contains(&command), "{shell}: {words}: {command} is missing");
            for flag in flags {
                assert!(
                    script.contains(&format!("{before_flag}{flag}")),
                    "{shell}: {words}: {flag} is missing"
                );
            }
        }
    }
}

/// Whether bash takes a script.
fn bash_accepts(script: &str) -> bool {
    let mut bash = Command::new("bash");
    let mut child = bash.arg("-n").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn bash_takes_its_completions() {
    assert!(!bash_accepts("if"), "`-n` looks at the script");
    assert!(bash_accepts(&script(Shell::Bash)));
}

#[test]
fn the_manual_has_a_page_for_every_command_with_its_flags() {
    let folder = tempfile::tempdir().unwrap();
    Man { dir: Some(folder.path().join("man1")) }.run().unwrap();
    let page = |name: &str| {
        let path = folder.path().join(format!("man1/{name}.1"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let first = page("countersign");
    assert!(first.contains("Exit codes: "), "{first}");
    let mut pages = 1;
    for (words, flags) in every_command() {
        let page = page(&format!("countersign-{}", words.replace(' ', "-")));
        pages += 1;
        for flag in flags {
            let flag = format!("\\-\\-{}", flag.replace('-', "\\-"));
            assert!(page.contains(&flag), "{words}: {flag} is missing");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path().join("man1")).unwrap().count(), pages);
}
