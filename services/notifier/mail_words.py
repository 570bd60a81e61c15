"""The words that an e-mail has beside those of the notice in it, in every language we speak: subject and end."""

from collections.abc import Mapping

# "" counts for the kinds about a second factor.
SUBJECTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "": "The second step of your sign-in",
        "bypass_granted": "You may sign in once without a code",
        "bypass_used": "A sign-in without a code",
        "granted_bypass_used": "The sign-in without a code that you allowed",
        "granted_bypass_enrolled": "The sign-in without a code that you allowed",
        "operator_bypass_granted": "A sign-in without a code, allowed by the operator",
        "backup_codes_made": "New backup codes",
        "backup_codes_low": "Few backup codes left",
        "guesses_spent": "Too many wrong codes",
        "password_changed": "Your password was changed",
        "password_reset": "Your password was reset",
        "phone_changed": "Your phone number was changed",
        "new_browser": "A sign-in with a new browser",
    },
    "de": {
        "": "Der zweite Schritt Ihrer Anmeldung",
        "bypass_granted": "Sie dürfen sich einmal ohne Code anmelden",
        "bypass_used": "Eine Anmeldung ohne Code",
        "granted_bypass_used": "Die Anmeldung ohne Code, die Sie erlaubt haben",
        "granted_bypass_enrolled": "Die Anmeldung ohne Code, die Sie erlaubt haben",
        "operator_bypass_granted": "Eine Anmeldung ohne Code, erlaubt vom Betreiber",
        "backup_codes_made": "Neue Backup-Codes",
        "backup_codes_low": "Nur noch wenige Backup-Codes",
        "guesses_spent": "Zu viele falsche Codes",
        "password_changed": "Ihr Passwort wurde geändert",
        "password_reset": "Ihr Passwort wurde zurückgesetzt",
        "phone_changed": "Ihre Telefonnummer wurde geändert",
        "new_browser": "Eine Anmeldung mit einem neuen Browser",
    },
    "fr": {
        "": "La deuxième étape de votre connexion",
        "bypass_granted": "Une connexion sans code vous est permise",
        "bypass_used": "Une connexion sans code",
        "granted_bypass_used": "La connexion sans code que vous avez permise",
        "granted_bypass_enrolled": "La connexion sans code que vous avez permise",
        "operator_bypass_granted": "Une connexion sans code, permise par l'exploitant",
        "backup_codes_made": "Nouveaux codes de secours",
        "backup_codes_low": "Il reste peu de codes de secours",
        "guesses_spent": "Trop de codes erronés",
        "password_changed": "Votre mot de passe a été changé",
        "password_reset": "Votre mot de passe a été réinitialisé",
        "phone_changed": "Votre numéro de téléphone a été changé",
        "new_browser": "Une connexion avec un nouveau navigateur",
    },
    "es": {
        "": "El segundo paso de su inicio de sesión",
        "bypass_granted": "Puede entrar una vez sin código",
        "bypass_used": "Una entrada sin código",
        "granted_bypass_used": "La entrada sin código que usted permitió",
        "granted_bypass_enrolled": "La entrada sin código que usted permitió",
        "operator_bypass_granted": "Una entrada sin código, permitida por el operador",
        "backup_codes_made": "Nuevos códigos de respaldo",
        "backup_codes_low": "Quedan pocos códigos de respaldo",
        "guesses_spent": "Demasiados códigos incorrectos",
        "password_changed": "Se cambió su contraseña",
        "password_reset": "Se restableció su contraseña",
        "phone_changed": "Se cambió su número de teléfono",
        "new_browser": "Una entrada con un navegador nuevo",
    },
    "nl": {
        "": "De tweede inlogstap van uw account",
        "bypass_granted": "U mag één keer zonder code inloggen",
        "bypass_used": "Ingelogd zonder code",
        "granted_bypass_used": "De keer inloggen zonder code die u hebt toegestaan",
        "granted_bypass_enrolled": "De keer inloggen zonder code die u hebt toegestaan",
        "operator_bypass_granted": "Inloggen zonder code, toegestaan door de exploitant",
        "backup_codes_made": "Nieuwe back-upcodes",
        "backup_codes_low": "Nog maar weinig back-upcodes",
        "guesses_spent": "Te veel verkeerde codes",
        "password_changed": "Uw wachtwoord is gewijzigd",
        "password_reset": "Uw wachtwoord is opnieuw ingesteld",
        "phone_changed": "Uw telefoonnummer is gewijzigd",
        "new_browser": "Ingelogd met een nieuwe browser",
    },
}

# The end of every e-mail.
CLOSES: Mapping[str, str] = {
    "en": "{product} sends such messages by itself. They never hold a link, and nobody will ask you for a code or for"
    " your password.",
    "de": "{product} schickt solche Nachrichten von selbst. Sie enthalten nie einen Link, und niemand wird Sie nach"
    " einem Code oder nach Ihrem Passwort fragen.",
    "fr": "{product} envoie ces messages automatiquement. Ils ne contiennent jamais de lien, et personne ne vous"
    " demandera un code ou votre mot de passe.",
    "es": "{product} envía estos mensajes automáticamente. Nunca contienen enlaces, y nadie le pedirá un código ni su"
    " contraseña.",
    "nl": "{product} stuurt zulke berichten vanzelf. Ze bevatten nooit een link, en niemand zal u om een code of om uw"
    " wachtwoord vragen.",
}
