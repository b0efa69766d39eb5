/* The commands: what they are called, take and do. Parsing, help and the manual page's check go by this
 * table. */
#include "peer/command/command.h"
#include "protocol/mem.h"

static const struct command_flag agent_flags[] = {
    {"ready-fd", "N", NULL}, /* from `up`: where to tell how the start went */
    {NULL, NULL, NULL},
};

static const struct command_flag up_flags[] = {
    {"ask-key", NULL, "ask for the group key on the terminal, and keep it in the key file"},
    {"invite", NULL, "show a code by which one other host gets the group key, once"},
    {"code", "CODE", "get the group key from the host that shows this code"},
    {NULL, NULL, NULL},
};

static const struct command_flag events_flags[] = {
    {"since", "DURATION", "first what happened in the last DURATION, as far as the agent still holds it"},
    {"no-follow", NULL, "end when what is held has been shown"},
    {NULL, NULL, NULL},
};

static const struct command_flag members_flags[] = {
    {"watch", NULL, "go on showing it, until ^C; with -o json a line each time that it changes"},
    {NULL, NULL, NULL},
};

static const struct command_flag leave_flags[] = {
    {"force", NULL, "this host alone: do not wait for the control plane"},
    {"timeout", "DURATION", "give up waiting after DURATION (10m)"},
    {NULL, NULL, NULL},
};

static const struct command_flag preflight_flags[] = {
    {"fix", NULL, "install what is missing and mend what can be mended, then check"},
    {"undo", NULL, "put back everything that was mended and installed here"},
    {NULL, NULL, NULL},
};

static const struct command_flag key_flags[] = {
    {"force", NULL, "generate, import: replace the key that is there"},
    {"passphrase", NULL, "generate: from a passphrase, which is asked for, or read from standard input"},
    {NULL, NULL, NULL},
};

static const struct command_flag images_flags[] = {
    {"worker", NULL, "only what a worker needs"},
    {NULL, NULL, NULL},
};

static const struct command_flag kubeconfig_flags[] = {
    {"install", NULL, "write it to ~/.kube/config of whoever called (also through sudo)"},
    {"force", NULL, "install: replace another kubeconfig that is there"},
    {NULL, NULL, NULL},
};

static const struct command_flag verify_flags[] = {
    {"timeout", "DURATION", "end within DURATION, 20s to 10m (2m)"},
    {NULL, NULL, NULL},
};

const struct command command_table[] = {
    {.name = "up",
     .summary = "make this host a member, and show how it becomes a Node",
     .run = cmd_up,
     .flags = up_flags,
     .about = "Starts the agent (as a systemd unit where systemd runs, else in the background), and shows "
              "each phase "
              "until this host's Node is Ready. Run again, it resumes or says that all is well. ^C leaves "
              "the agent "
              "at work (exit 130).",
     .example =
         "  sudo kpeer up\n  sudo kpeer up --expect 3\n  sudo kpeer up --invite\n  sudo kpeer up --code "
         "4k7-x2m-9q9\n  sudo kpeer up --role worker --interface eth1\n"
         "  kpeer up --dry-run --state-dir /tmp/a --run-dir /tmp/a",
     .takes_agent_flags = true},
    {.name = "members",
     .summary = "who is in the group",
     .run = cmd_members,
     .flags = members_flags,
     .about = "Lists the group's members as this host sees them.",
     .example = "  kpeer members\n  kpeer members -o wide\n  kpeer members --watch\n  kpeer members -o json"},
    {.name = "status",
     .summary = "how this host is; exit 0 only if healthy",
     .run = cmd_status,
     .about =
         "Shows this host's phase, the election, the cluster and the last error with what to do about it.",
     .example = "  kpeer status\n  kpeer status -o json"},
    {.name = "why",
     .summary = "what stands between a host and ready, and what to do",
     .run = cmd_why,
     .args = "HOST",
     .max_args = 1,
     .about = "Goes from what is seen on this host, or on HOST (a member's name or id), to the cause of it, "
              "wherever in the group that lies, and tells the next step; exit 0 only if all is well. As root "
              "it also looks at this host's checks, and lets the hosts look at each other.",
     .example = "  sudo kpeer why\n  kpeer why node3\n  sudo kpeer why -o json"},
    {.name = "events",
     .summary = "the stream of what happens",
     .run = cmd_events,
     .flags = events_flags,
     .about = "Shows what happens, as it happens, until ^C. With -o json one object a line.",
     .example = "  kpeer events --since 5m\n  kpeer events --since 1h --no-follow -o json"},
    {.name = "metrics",
     .summary = "figures for a monitor, as Prometheus reads them",
     .run = cmd_metrics,
     .about =
         "Prints what the agent counts and how this host is, in Prometheus' text format. Where the setting "
         "metrics names a loopback address and port, the agent also answers GET /metrics there.",
     .example = "  kpeer metrics\n  kpeer metrics | grep kpeer_members",
     .no_data = true},
    {.name = "leave",
     .summary = "drain, delete, reset, undo, goodbye",
     .run = cmd_leave,
     .flags = leave_flags,
     .about = "Takes this host out of the cluster and the group: drains and deletes its Node, resets the "
              "host, puts "
              "back what kpeer changed, says goodbye, stops the agent.",
     .example = "  sudo kpeer leave\n  sudo kpeer leave --force"},
    {.name = "preflight",
     .summary = "every check on this host; --fix mends, --undo puts it back",
     .run = cmd_preflight,
     .flags = preflight_flags,
     .about =
         "Checks whether this host can be a Node and tells what to do about what is red (exit 5). --fix "
         "installs what is missing and mends what can be mended; what it replaces is kept, and --undo puts "
         "all of it back.",
     .example = "  kpeer preflight\n  sudo kpeer preflight --fix\n  sudo kpeer preflight --undo",
     .takes_agent_flags = true},
    {.name = "images",
     .summary = "what Kubernetes and Flannel need on this host: list, pull, verify",
     .run = cmd_images,
     .args = "list|pull|verify",
     .flags = images_flags,
     .min_args = 1,
     .max_args = 1,
     .about =
         "Lists the images that this host needs and has; pulls those that miss, from archives, a mirror or "
         "their own registry, under the names that Kubernetes uses; compares them with a second source "
         "(exit 1 where one differs or is missing). `kpeer up` pulls by itself.",
     .example = "  kpeer images list\n  sudo kpeer images pull --worker\n  sudo kpeer images verify -o json"},
    {.name = "key",
     .summary = "the group key",
     .run = cmd_key,
     .args = "generate|import|show|rotate",
     .flags = key_flags,
     .min_args = 1,
     .max_args = 1,
     .takes_key_file = true,
     .about =
         "Makes, takes or shows the key that hosts of one group share. Whoever has it can join the "
         "group. import takes it from KPEER_KEY, or asks for it on the terminal, or reads standard input. "
         "rotate, on the master, gives all members a new one, and ends when the group goes by it.",
     .example = "  sudo kpeer key generate\n  sudo kpeer key generate --passphrase\n  sudo kpeer key "
                "import\n  sudo kpeer key rotate\n"
                "  sudo kpeer key show --key-file /root/group.key"},
    {.name = "evict",
     .summary = "take a member out of the group and the cluster, for good",
     .run = cmd_evict,
     .args = "HOST",
     .min_args = 1,
     .max_args = 1,
     .about =
         "On the master: gives the group a new key that HOST (a member's name or id) does not get, and "
         "drains "
         "and deletes its Node. Its identity is refused from then on by all. Ends when the group goes by the "
         "new key.",
     .example = "  sudo kpeer evict node3"},
    {.name = "report",
     .summary = "what a report of a fault needs, in one archive, without secrets",
     .run = cmd_report,
     .args = "FILE",
     .max_args = 1,
     .about =
         "Gathers how kpeer, its group, this host, its network and its Kubernetes are, and the ends of the "
         "logs, "
         "and packs that as FILE (kpeer-report-HOST-TIME.tar.gz in the current folder; - for standard "
         "output). Keys, tokens and passwords are taken out. Works without an agent and without root, with "
         "less.",
     .example = "  sudo kpeer report\n  sudo kpeer report - | ssh me@desk 'cat > report.tar.gz'"},
    {.name = "config",
     .summary = "the configuration in force, and whether a file is valid",
     .run = cmd_config,
     .args = "print|validate",
     .min_args = 1,
     .max_args = 1,
     .about =
         "print shows every key's value and whether it comes from the default, the file, the environment "
         "or a flag; with -o yaml as a configuration file. validate reads the file of --config (else "
         "/etc/kpeer/kpeer.yaml) and tells the place of a fault (exit 2).",
     .example = "  kpeer config print -o wide\n  kpeer config print -o yaml > kpeer.yaml\n"
                "  kpeer config validate --config kpeer.yaml",
     .takes_agent_flags = true},
    {.name = "kubeconfig",
     .summary = "the cluster's admin kubeconfig",
     .run = cmd_kubeconfig,
     .flags = kubeconfig_flags,
     .about = "Fetches the admin kubeconfig over the encrypted link, so that any member can be the console.",
     .example = "  sudo kpeer kubeconfig > admin.conf\n  sudo kpeer kubeconfig --install"},
    {.name = "verify",
     .summary = "try a test pod: it runs on a worker, all hosts reach it, it goes again",
     .run = cmd_verify,
     .flags = verify_flags,
     .about = "Has the master run a pod on a worker, waits until it serves, sees that its address is in the "
              "range of "
              "pods, has the other hosts call it, and takes it away. Exit 0 only if all of that went well. "
              "^C takes "
              "it away, too.",
     .example = "  sudo kpeer verify\n  sudo kpeer verify --timeout 5m -o json"},
    {.name = "completion",
     .summary = "what a shell needs to complete kpeer's words",
     .run = cmd_completion,
     .args = "bash|zsh|fish",
     .min_args = 1,
     .max_args = 1,
     .about = "Prints the completion script for a shell: commands, flags, their values, and members by name.",
     .example = "  source <(kpeer completion bash)\n"
                "  kpeer completion zsh > \"${fpath[1]}/_kpeer\"\n"
                "  kpeer completion fish > ~/.config/fish/completions/kpeer.fish",
     .no_config = true,
     .no_data = true},
    {.name = "agent",
     .summary = "the daemon itself, in the foreground",
     .run = cmd_agent,
     .flags = agent_flags,
     .about = "Runs the agent in the foreground. `kpeer up` starts it where it is not running.",
     .example = "  sudo kpeer agent --log-level debug",
     .takes_agent_flags = true,
     .no_data = true},
    {.name = "version",
     .summary = "version, and versions of the libraries in use",
     .run = cmd_version,
     .about = "Shows the versions of kpeer and of the libraries in use.",
     .example = "  kpeer version\n  kpeer version -o json",
     .no_config = true},
};

const size_t command_count = COUNT_OF(command_table);
