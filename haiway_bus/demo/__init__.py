"""The main job: an index of Python source, made by stages that talk to each other over the bus alone.

    walk -> FileFound -> workers -> ModuleIndexed, ClassFound, FunctionFound, FileFailed
                                    -> count, rank, catalogue, progress
    look_up -> WhereIs -> answer -> Whereabouts

Its modules, from the ground up: `sources` (which files), `findings` (what a file defines), `index` (what all files
define), `settings` and `events` (what the stages tell each other), `stages` (a function for each stage), `job` (the
scopes), `recount` (the same index without a bus), `progress`, `tables`, `rich_output` and `report` (what a person
sees), `cli` (arguments and exit codes).
"""
