"""The main job: an index of Python source, built by stages that talk over the bus alone.

    walk -> FileFound -> workers -> ModuleIndexed, ClassFound, FunctionFound, FileFailed
                                    -> count, rank, catalogue, progress
    look_up -> WhereIs -> answer -> Whereabouts

Its rooms, from the ground up: `sources` (which files), `findings` (what one file holds), `index`
(what is known about all of them), `settings` and `events` (what is said), `stages` (who says it, a
function each), `job` (the scopes), `recount` (the same without a bus), `progress`, `tables`,
`rich_output` and `report` (what a person sees), `cli` (arguments and exit codes).
"""
